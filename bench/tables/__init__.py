"""Tables made of records: pure functions."""
