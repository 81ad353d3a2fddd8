"""Batchers: stages that gather rows, one rule a file."""
