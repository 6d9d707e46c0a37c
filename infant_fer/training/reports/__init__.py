"""What does a training leave to read? Its log, the checkpoint with card, metrics and report, and maps of what it looked at."""
