"""Steps: stages that change or remove rows, one rule a file."""
