"""How are checkpoints made and measured? Any image classifier on any infants; the embedded checkpoint's own way is in `ours`."""
