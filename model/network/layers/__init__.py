"""Layers: what trunks are made of, one kind a module."""
