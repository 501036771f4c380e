"""Models of the benchmark: their shape, how they are loaded, pruned bases on disk, merging."""
