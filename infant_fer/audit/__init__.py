"""Measure how an answer changes when exactly one thing in a rendered picture changes: `python -m infant_fer.audit CHECKPOINT`."""
