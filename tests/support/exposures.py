"""Exposures to write, and what a folder of events holds of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from model.events import Candidates, EventCatalogue, EventFolder, Exposure, FeedbackKind, Origin, Shown
from model.events.exposures import read_segment

__all__ = ["CATALOGUE", "HOUR", "exposure_rows", "origin", "shown"]

HOUR = 3_600_000
"""Milliseconds."""

CATALOGUE = EventCatalogue(kinds=(FeedbackKind(kind="is_share"),))


def origin(tasks: tuple[str, ...] = ("vtr", "shr"), version: str = "sha256:aa") -> Origin:
    return Origin(tasks, CATALOGUE, version, lambda: b'{"of":"' + version.encode() + b'"}')


def shown(number: int, time_ms: int, made_with: Origin, candidates: int = 3, without: bool = False) -> Shown:
    """An exposure with all its candidates, of which the last has no predictions, or without them."""
    random = np.random.default_rng(number)
    ids = [f"v{number}-{place}" for place in range(candidates)]
    predictions = {task: random.random(candidates, np.float32) for task in made_with.tasks}
    for p in predictions.values():
        p[-1] = np.nan
    lengths = np.arange(candidates, dtype=np.float64)
    fields: dict[str, Any] = {
        "exposure_id": f"x{number}",
        "request_id": None,
        "time_ms": time_ms,
        "user": f"u{number % 7}",
        "unit_hash": 2**64 - 1 - number,
        "scene": "default",
        "context": {"tab": "1"},
        "bundle_version": "sha256:bb",
        "variant": "fp32",
        "fusion_version": made_with.fusion_version,
        "revision": None,
        "arms": (),
        "weights": dict.fromkeys(made_with.tasks, 1.0),
        "explored": False,
        "degraded": [],
        "items": ids[:2],
        "item_len_s": np.array([1.5, np.nan])[:candidates],
        "candidates": None if without else Candidates(ids, lengths, predictions),
    }
    return Shown(Exposure(**fields), made_with)


def exposure_rows(folder: Path) -> list[dict[str, Any]]:
    """The records of all segments, whole or torn, in the order of the files' names."""
    paths = sorted(EventFolder(folder).exposures.rglob("*.arrow"))
    return [row for path in paths for batch in read_segment(path) for row in batch.to_pylist()]
