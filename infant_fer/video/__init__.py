"""Affect over time: frames, faces followed through a clip, timelines, and the file formats of infant laboratories."""
