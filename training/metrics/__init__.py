"""Metrics: what predictions are worth, with intervals. NumPy; `reward` evaluates an expression by Polars."""
