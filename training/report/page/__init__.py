"""The report as people read it: one HTML page."""
