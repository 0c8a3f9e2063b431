"""Experiments: what runs on which part of the traffic, what is known of it, what changes it."""
