"""The eBPF side: load, attach, map, poll. Knows nothing of pipelines."""
