"""Scope: the keys under which a request carries what telemetry reads of it."""

from __future__ import annotations

ARRIVED_AT = "fulcrum.arrived_at"
"""Key of the scope: `time.perf_counter` when the request's head had been read."""

NAME = "fulcrum.request_id"
"""Key of the scope: the request's id."""

WATCH = "fulcrum.watch"
"""Key of the scope: the stopwatch of a ranking."""
