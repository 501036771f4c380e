"""What a script of the workflow does first and last: log, errors, outcome, measures, provenance."""
