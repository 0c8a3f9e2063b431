"""Experiments: arms in force beside what is active, and how experiments are changed."""
