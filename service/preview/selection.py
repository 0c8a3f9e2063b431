"""Selection: a sample's requests of one scene, all scored at once, then put in order in tables.

Requests of like size stand in one table, so that padding at most doubles it. Scores and orders are those of
the service, bit for bit, with the mean weights where a scene explores. Pure NumPy; knows no processes.

Shapes: R requests, C candidates of all of them; tables of Q requests with W candidates at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from model.fusion import DEFAULT_SCENE, FusionConfig, FusionError, LearnedFormula, Scene, Scorer, score
from model.fusion.comparison import Floats, Ints, Order
from service.preview.sample import Sample

_AT_ONCE = 1 << 14
"""Candidates that are scored at once, so that what is computed on the way stays in the cache."""

ScorerOf = Callable[[LearnedFormula], Scorer]
"""Opens the network that a formula names."""


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Requests of like size: rows of a matrix.

    Attributes:
        rows: the requests [Q].
        number: candidates of each [Q].
        starts: of their candidates among all [Q].
        cells: candidates of all of them, row by row, among all.
        there: which entries of the matrix are candidates [Q, W]; None where all are.
    """

    rows: Ints
    number: Ints
    starts: Ints
    cells: Ints | slice
    there: npt.NDArray[np.bool_] | None

    def order(self, values: Floats) -> Order:
        """The order of each request's candidates by values of all candidates [C]."""
        shape = (len(self.rows), int(self.number.max()))
        if self.there is None:
            return Order.by(values[self.cells].reshape(shape))
        matrix = np.full(shape, np.nan)
        matrix[self.there] = values[self.cells]
        return Order.by(matrix)


class Selection:
    """Requests of a sample.

    Args:
        sample: the sample.
        rows: its requests, as `chosen` gives them: ascending [R].
    """

    def __init__(self, sample: Sample, rows: Sequence[int]) -> None:
        self.sample = sample
        self.rows = rows
        self.number = np.array([sample.starts[row + 1] - sample.starts[row] for row in rows], np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.number)])
        cells: Any = slice(None)
        if len(rows) < len(sample.scenes):
            among = np.zeros(len(sample.scenes), np.bool_)
            among[list(rows)] = True
            cells = np.flatnonzero(np.repeat(among, np.diff(sample.starts)))
        self.predictions: dict[str, Floats] = {
            task: p[cells].astype(np.float64)
            for task, p in zip(sample.tasks, sample.predictions, strict=True)
        }
        self.video_len_s: Floats = sample.video_len_s[cells]
        self.default: npt.NDArray[np.bool_] = sample.default[cells]
        self.said: list[dict[str, Any]] = [orjson.loads(sample.said[row]) for row in rows]
        self.request_of = np.repeat(np.arange(len(rows)), self.number)

    @cached_property
    def tables(self) -> list[Table]:
        """Requests by size: one table for each power of two."""
        sizes = np.ceil(np.log2(self.number)).astype(np.int64)
        return [self._table(np.flatnonzero(sizes == size)) for size in np.unique(sizes)]

    def _table(self, rows: Ints) -> Table:
        number = self.number[rows]
        there = np.arange(number.max()) < number[:, None]
        return Table(rows, number, self.starts[rows], self._cells(rows), None if there.all() else there)

    def values(self, config: FusionConfig, scorer_of: ScorerOf) -> Floats:
        """What a config orders by [C].

        Raises:
            FusionError: a network cannot be opened.
        """
        found = np.empty(len(self.video_len_s))
        for scene, rows in self._laws(config):
            # A network's last digits may depend on how many candidates it is given: request by request.
            learned = isinstance(scene, LearnedFormula)
            scorer = scorer_of(scene) if isinstance(scene, LearnedFormula) else None
            for some in self._parts(rows, 1 if learned else _AT_ONCE):
                cells = self._cells(some)
                found[cells] = self._scored(config, scene, scorer, some, cells)
        return found

    def _scored(
        self, config: FusionConfig, scene: Scene, scorer: Scorer | None, rows: Sequence[int], cells: Any
    ) -> Floats:
        p = {task: values[cells] for task, values in self.predictions.items()}
        lengths, lists = self.video_len_s[cells], self.request_of[cells]
        try:
            return score(scene, p, lengths, lists=lists, scorer=scorer).order
        except FusionError:  # as the service does
            if not isinstance(scene, LearnedFormula):
                raise
            instead, _ = config.scenes[scene.fallback].of_request(self.said[rows[0]])
            return score(instead, p, lengths).order

    def _parts(self, rows: Sequence[int], most: int) -> Iterator[Sequence[int]]:
        """Requests, some at a time: of so many candidates in all, at least one."""
        start, candidates = 0, 0
        for place, row in enumerate(rows):
            candidates += int(self.number[row])
            if candidates > most and place > start:
                yield rows[start:place]
                start, candidates = place, int(self.number[row])
        yield rows[start:]

    def _cells(self, rows: Sequence[int] | Ints) -> Any:
        """The candidates of requests, which ascend, among all."""
        first, last = int(rows[0]), int(rows[-1])
        start, stop = int(self.starts[first]), int(self.starts[last + 1])
        if len(rows) == last + 1 - first:
            return slice(start, stop)
        among = np.zeros(last + 1 - first, np.bool_)
        among[np.asarray(rows) - first] = True
        return start + np.flatnonzero(np.repeat(among, self.number[first : last + 1]))

    def _laws(self, config: FusionConfig) -> list[tuple[Scene, list[int]]]:
        """The different scenes that hold, with the requests for which each does."""
        by_said: dict[tuple[Any, ...], int] = {}
        laws: list[tuple[Scene, list[int]]] = []
        names = {name: sorted(scene.names_of_conditions()) for name, scene in config.scenes.items()}
        for row, at in enumerate(self.rows):
            scene = applied(config, self.sample.scenes[at])
            said = self.said[row]
            # What is equal, as 1 and True are, need not be the same to a condition.
            key = (scene, *(repr(said.get(name, ...)) for name in names[scene]))
            law = by_said.get(key)
            if law is None:
                held, _ = config.scenes[scene].of_request(said)
                law = next((place for place, (one, _) in enumerate(laws) if one == held), len(laws))
                if law == len(laws):
                    laws.append((held, []))
                by_said[key] = law
            laws[law][1].append(row)
        return laws


def applied(config: FusionConfig, asked: str) -> str:
    """The scene that a config applies where this one is asked for."""
    return asked if asked in config.scenes else DEFAULT_SCENE


def chosen(sample: Sample, recent: int, scene: str, configs: Sequence[FusionConfig]) -> tuple[int, ...]:
    """The newest requests of a sample to which any of the configs applies the scene."""
    asked = {name for name in set(sample.scenes) if any(applied(config, name) == scene for config in configs)}
    return tuple(row for row, name in enumerate(sample.scenes) if name in asked)[:recent]


def tops(table: Table, order: Order, top: int) -> Ints:
    """The candidates in the first places of a table's requests, among all: [places]."""
    first = order.order[:, :top]
    there = np.arange(first.shape[1]) < table.number[:, None]
    found: Ints = (table.starts[:, None] + first)[there]
    return found
