"""Bundles: which there are, whether one may serve, and how it comes into service."""
