"""Tuning: from a log to a fusion config."""
