"""The report as people read it: one HTML page, and a table for the terminal."""
