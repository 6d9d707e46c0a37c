"""Labelled images, aligned faces, splits by infant, and the leakage check."""
