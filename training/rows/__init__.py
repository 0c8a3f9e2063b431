"""Rows: encoded rows of a log, in memory or streamed from disk."""
