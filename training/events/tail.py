"""Tail: the last exposures of a folder of events, and what came of them so far. Changes nothing."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from model.events.folder import HOUR_MS, EventFolder, hour_start_ms
from training.events.feedback_database import FeedbackDatabase
from training.events.sources import Part, Reader, id_bound, id_ms, index, source_files

_NEVER_MS = 1 << 47


@dataclass
class Shown:
    """One exposure.

    Attributes:
        exposure_id, user_id, scene: as they are logged.
        time_ms: milliseconds since 1970.
        items: ids, in order.
        degraded: what went wrong.
        events: `(item_id, kind, value)`, in the order of receipt.
    """

    exposure_id: str
    user_id: str
    scene: str
    time_ms: int
    items: list[str]
    degraded: list[str]
    events: list[tuple[str, str, float]] = field(default_factory=list)


def last_exposures(events: Path, count: int, after: str = "") -> list[Shown]:
    """The last exposures, oldest first, of those whose ids come after `after`.

    Raises:
        FulcrumError: `events` holds none, or its feedback is damaged.
    """
    folder = EventFolder(events)
    folder.read_catalogue()
    shown: dict[str, Shown] = {}
    for hour in reversed(folder.hours()):
        if len(shown) >= count or id_bound(hour_start_ms(hour.name) + HOUR_MS) <= after:
            break
        parts = [part for path in source_files(hour) for part in index(path, _NEVER_MS).parts]
        shown |= _of_hour(parts, count - len(shown), after)
    last = [shown[identity] for identity in sorted(shown)[-count:]]
    by_id = defaultdict(list, {one.exposure_id: one.events for one in last})
    if last:
        for identity, item, kind, value in FeedbackDatabase(folder.feedback).since(last[0].time_ms):
            if identity in by_id:
                by_id[identity].append((item, kind, value))
    return last


def _of_hour(parts: list[Part], count: int, after: str) -> dict[str, Shown]:
    found: dict[str, Shown] = {}
    with Reader() as reader:
        for part in sorted(parts, key=lambda part: part.last, reverse=True):
            if part.last <= after or (len(found) >= count and part.last < sorted(found)[-count]):
                break
            for rows in reader.read([part], after, part.last + "\0"):
                for row in rows.select(_NAMES).to_pylist():
                    if row["exposure_id"] != after:
                        found[row["exposure_id"]] = Shown(**row, time_ms=id_ms(row["exposure_id"]))
    return found


_NAMES = ["exposure_id", "user_id", "scene", "items", "degraded"]
