"""Predictions of a checkpoint on a table of images, baselines, scores, plots and reports."""
