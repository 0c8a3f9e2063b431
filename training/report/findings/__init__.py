"""Findings: what the runs of a report say, with intervals."""
