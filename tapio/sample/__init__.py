"""Samplers: stages that keep some rows, one rule a file."""
