"""Inference: the bundle's network on a provider, in chunks, over threads. Knows no requests."""
