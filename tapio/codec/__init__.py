"""Bytes ↔ batches, pure: no I/O, no clocks."""
