"""How does an answer move when exactly one thing in a rendered picture changes? `python -m infant_fer.audit CHECKPOINT`."""
