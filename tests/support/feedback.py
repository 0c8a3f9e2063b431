"""Feedback: events to send, and what a folder has kept."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

__all__ = ["Report", "event", "kept"]


def event(event_id: str, **changed: Any) -> dict[str, Any]:
    """A click of this moment, or what it is changed to."""
    plain = {"exposure_id": "exposure", "item_id": "v1", "kind": "is_click", "value": True}
    return {"event_id": event_id, **plain, "time_ms": time.time_ns() // 1_000_000, **changed}


def kept(folder: Path) -> dict[str, tuple[Any, ...]]:
    """What a folder of events has kept: the other columns by event id."""
    with closing(sqlite3.connect(folder / "feedback.sqlite")) as database:
        return {row[0]: row[1:] for row in database.execute("SELECT * FROM feedback")}


class Report:
    """What a store told of itself.

    Attributes:
        commits: of each, its events, and how many of them were new.
        refusals: why requests were refused.
    """

    def __init__(self) -> None:
        self.commits: list[tuple[int, int]] = []
        self.refusals: list[str] = []

    def committed(self, events: int, new: int, seconds: float) -> None:
        assert seconds > 0
        self.commits.append((events, new))

    def rejected(self, events: int) -> None:
        pass

    def late(self, milliseconds: Any) -> None:
        pass

    def refused(self, reason: str) -> None:
        self.refusals.append(reason)
