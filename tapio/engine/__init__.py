"""The only tasks, queues and timeouts of a pipeline."""
