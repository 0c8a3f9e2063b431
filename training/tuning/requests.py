"""Requests with all their candidates, as arrays: what replay takes, wherever they come from.

Shapes: R requests, N candidates of all of them, one request after the other, each in the order of its input;
K items that were shown, likewise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.object_]


@dataclass(frozen=True, eq=False)
class Requests:
    """Some requests.

    Attributes:
        ids: of requests [R].
        user: numbers of users [R].
        time_ms: milliseconds since 1970 [R].
        scene: that was applied, or asked for [R].
        said: what conditions look at, a JSON object each [R].
        unit_hash: that exploring draws from, uint64 [R].
        fixed: whether weights were not drawn whatever the config says: the network of a learned formula had
            failed, and its fallback ranked [R].
        start: where each one's candidates begin, and the end of the last one's [R + 1].
        item: numbers of items [N].
        video_len_s: seconds, NaN where unknown [N].
        predictions: by task, in the order in which terms are summed, float32 [N]; NaN where there is none.
        version: of the config that ranked, or None [R].
        explored: whether it drew weights [R].
        weights: as applied, by term [R]; of none where nothing was served.
        shown: numbers of items in the order of the answers [K].
        shown_start: where each one's begin, and the end of the last one's [R + 1].
    """

    ids: Texts
    user: Ints
    time_ms: Ints
    scene: Texts
    said: Texts
    unit_hash: npt.NDArray[np.uint64]
    fixed: Flags
    start: Ints
    item: Ints
    video_len_s: Floats
    predictions: Mapping[str, npt.NDArray[np.float32]]
    version: Texts
    explored: Flags
    weights: Mapping[str, Floats]
    shown: Ints
    shown_start: Ints

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def sizes(self) -> Ints:
        """Candidates of each request [R]."""
        return np.diff(self.start)

    @property
    def scored(self) -> Flags:
        """Candidates that have predictions [N]."""
        found = np.zeros(len(self.item), np.bool_)
        for p in self.predictions.values():
            found |= ~np.isnan(p)
        return found

    def kept(self, rows: Flags) -> Requests:
        """Those of the rows [R] that are true."""
        if rows.all():
            return self
        candidates = np.repeat(rows, self.sizes)
        shown = np.repeat(rows, np.diff(self.shown_start))
        changed: dict[str, Any] = {
            "start": _starts(self.sizes[rows]),
            "shown_start": _starts(np.diff(self.shown_start)[rows]),
            "shown": self.shown[shown],
            "item": self.item[candidates],
            "video_len_s": self.video_len_s[candidates],
            "predictions": {task: p[candidates] for task, p in self.predictions.items()},
            "weights": {term: weight[rows] for term, weight in self.weights.items()},
        }
        others: dict[str, Any] = {
            each.name: getattr(self, each.name)[rows] for each in fields(self) if each.name not in changed
        }
        return Requests(**changed, **others)

    def part(self, first: int, last: int) -> Requests:
        """Those from the row `first` up to and without `last`, without a copy."""
        candidates = slice(self.start[first], self.start[last])
        shown = slice(self.shown_start[first], self.shown_start[last])
        changed: dict[str, Any] = {
            "start": self.start[first : last + 1] - self.start[first],
            "shown_start": self.shown_start[first : last + 1] - self.shown_start[first],
            "shown": self.shown[shown],
            "item": self.item[candidates],
            "video_len_s": self.video_len_s[candidates],
            "predictions": {task: p[candidates] for task, p in self.predictions.items()},
            "weights": {term: weight[first:last] for term, weight in self.weights.items()},
        }
        others: dict[str, Any] = {
            each.name: getattr(self, each.name)[first:last]
            for each in fields(self)
            if each.name not in changed
        }
        return Requests(**changed, **others)

    def with_predictions_of(self, tasks: set[str]) -> Requests:
        """Those whose scored candidates all have predictions of these tasks: another bundle may lack some."""
        lacking = np.zeros(len(self.item), np.bool_)
        for task in tasks:
            lacking |= np.isnan(self.predictions[task])
        lacking &= self.scored
        found = np.zeros(len(self), np.bool_)
        found[np.repeat(np.arange(len(self)), self.sizes)[lacking]] = True
        return self.kept(~found)


def joined_requests(parts: Sequence[Requests]) -> Requests:
    """One after the other; of one log, whose items and users are numbered alike, with the same tasks."""
    whole: dict[str, Any] = {}
    for each in fields(Requests):
        values = [getattr(part, each.name) for part in parts]
        if each.name in ("start", "shown_start"):
            whole[each.name] = _starts(np.concatenate([np.diff(value) for value in values]))
        elif each.name in ("predictions", "weights"):
            whole[each.name] = {name: np.concatenate([value[name] for value in values]) for name in values[0]}
        else:
            whole[each.name] = np.concatenate(values)
    return Requests(**whole)


def _starts(sizes: Ints) -> Ints:
    return np.append(0, np.cumsum(sizes)).astype(np.int64)


class Numbers:
    """Texts numbered in the order in which they are first met.

    Attributes:
        names: by number.
    """

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        self.names: list[str] = []

    def __len__(self) -> int:
        return len(self.names)

    def of(self, texts: pl.Series) -> Ints:
        """Their numbers [n]; there must be no null."""
        encoded = texts.to_arrow().dictionary_encode()
        numbers = np.array([self._one(name) for name in encoded.dictionary.to_pylist()], np.int64)
        return np.asarray(numbers[encoded.indices.to_numpy()], np.int64)

    def _one(self, name: str) -> int:
        number = self._number.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
        return number
