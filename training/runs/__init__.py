"""Runs: what a training leaves behind, goes on from, and is held against."""
