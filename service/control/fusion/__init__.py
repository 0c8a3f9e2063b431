"""Fusion: the config in force and where it comes from."""
