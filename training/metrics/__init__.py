"""Metrics: what predictions are worth, with intervals. Pure NumPy."""
