"""What is known of a cell: its record, the rows made of records, the course of its training."""
