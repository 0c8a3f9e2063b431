"""Stopwatch: where the time of one request goes. Knows no metrics."""

from __future__ import annotations

import time


class Stopwatch:
    """Times stages that follow each other.

    Attributes:
        arrived_at: `time.perf_counter` at the request's arrival, from which deadlines count.
        stages: seconds by stage; a stage that is lapped twice adds up.
        laps: stage, beginning and end of each lap.
    """

    def __init__(self, arrived_at: float | None = None) -> None:
        now = time.perf_counter()
        self.arrived_at = now if arrived_at is None else arrived_at
        self.stages: dict[str, float] = {}
        self.laps: list[tuple[str, float, float]] = []
        self._lap_began = now

    def lap(self, stage: str) -> None:
        """The stage ends here, the next begins."""
        now = time.perf_counter()
        self.stages[stage] = self.stages.get(stage, 0.0) + now - self._lap_began
        self.laps.append((stage, self._lap_began, now))
        self._lap_began = now

    @property
    def elapsed(self) -> float:
        """Seconds since arrival."""
        return time.perf_counter() - self.arrived_at
