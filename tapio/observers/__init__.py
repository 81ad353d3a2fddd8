"""What one BPF program means: one file an observer."""
