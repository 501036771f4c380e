"""Pruning methods and repair methods: what the benchmark compares."""
