"""Telemetry: metrics, traces and logs. Knows no ranking."""
