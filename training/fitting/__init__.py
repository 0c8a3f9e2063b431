"""Fitting: one loop for every network, and what it steps with."""
