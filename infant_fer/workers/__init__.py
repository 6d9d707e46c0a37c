"""How is work spread over processes or a cluster? `spread` runs one job over many items and keeps their order."""

from infant_fer.workers.jobs import Job, end_with_parent, spread

__all__ = ["Job", "end_with_parent", "spread"]
