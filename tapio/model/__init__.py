"""What flows and what a stage must be; pure."""
