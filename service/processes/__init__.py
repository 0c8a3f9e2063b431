"""Processes: workers on one socket, what they report of themselves, and their memory. Knows no ranking."""
