"""Stages that add columns, one system a file."""
