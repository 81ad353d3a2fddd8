"""Benchmarks: one a file, run by ``python -m benchmarks NAME``."""
