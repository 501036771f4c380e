"""One training set-up for every repair."""
