"""Summary: what fitting an encoder needs of training rows that come in chunks, in bounded memory.

Categories: each value with its count, in lists each element. Numbers: a uniform sample of the rows, all of
them where there are few, which is plenty for means, deviations and quantiles. `Encoder.fit` takes it as it
takes the rows themselves.

Shapes: V distinct values, S sampled rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import numpy.typing as npt

from model.encoding.categories import as_lists, canonical, counted
from model.encoding.columns import Column, ListColumn, RawColumn
from model.encoding.numbers import as_numbers
from model.schema import EmbeddedFeature, ListFeature, Schema

SAMPLED_ROWS = 1 << 18
"""A mean is off by a five hundredth of a deviation, a quantile's rank by a tenth of a percent."""


@dataclass(frozen=True)
class _Counted(Column):
    """Values with the rows that have them, without the rows."""

    rows: npt.NDArray[np.int64] | None = None

    def counts(self) -> npt.NDArray[np.int64]:
        return self.rows if self.rows is not None else super().counts()


@dataclass(frozen=True)
class _CountedElements(ListColumn):
    """The same for the elements of lists."""

    rows: npt.NDArray[np.int64]

    def element_counts(self) -> npt.NDArray[np.int64]:
        return self.rows


class TrainingSummary:
    """Takes in chunks of training rows; the outcome depends on the rows and their order, not on the chunks.

    Args:
        schema: whose features are summed up.
        seed: of the sample.
    """

    def __init__(self, schema: Schema, seed: int) -> None:
        self._schema = schema
        self._counts: dict[str, dict[str, int]] = {
            spec.name: {}
            for spec in schema.features
            if isinstance(spec, EmbeddedFeature) and spec.has_vocabulary and spec.shares is None
        }
        self._separators = {
            spec.name: spec.separator for spec in schema.features if isinstance(spec, ListFeature)
        }
        self._sample = _Sample([spec.name for spec in schema.features if spec.kind == "numeric"], seed)

    def add(self, columns: Mapping[str, RawColumn], rows: npt.NDArray[np.bool_]) -> None:
        """Take in the marked rows."""
        for name, counts in self._counts.items():
            column = columns[name].take(rows)
            if name in self._separators:
                column = as_lists(column, self._separators[name])
            _count(column, counts)
        self._sample.add(columns, rows)

    def columns(self) -> dict[str, RawColumn]:
        """By feature name, for `Encoder.fit`."""
        columns: dict[str, RawColumn] = dict(self._sample.columns())
        for spec in self._schema.features:
            if spec.name not in columns:
                counts = self._counts.get(spec.name, {})
                rows = np.fromiter(counts.values(), np.int64, count=len(counts))
                if isinstance(spec, ListFeature):
                    nought = np.zeros(0, np.int64)
                    columns[spec.name] = _CountedElements(Column(list(counts)), nought, nought, rows)
                else:
                    columns[spec.name] = _Counted(list(counts), rows=rows)
        return columns


class _Sample:
    """The numbers of the rows that drew the lowest lots, [S, numeric features], and where any is missing."""

    def __init__(self, names: Sequence[str], seed: int) -> None:
        self._names = names
        self._random = np.random.default_rng(seed)
        self._lots = np.zeros(0)
        self._numbers = np.zeros((0, len(names)))
        self._missing = np.zeros(len(names), bool)

    def add(self, columns: Mapping[str, RawColumn], rows: npt.NDArray[np.bool_]) -> None:
        lots = self._random.random(int(rows.sum()))
        taken = [cast(Column, columns[name].take(rows)) for name in self._names]
        numbers = np.empty((len(lots), len(taken)))
        for place, column in enumerate(taken):
            numbers[:, place] = column.spread(as_numbers(column.values))
        self._missing |= np.isnan(numbers).any(axis=0)
        self._lots = np.concatenate([self._lots, lots])
        self._numbers = np.concatenate([self._numbers, numbers])
        if len(self._lots) > SAMPLED_ROWS:
            lowest = np.sort(np.argpartition(self._lots, SAMPLED_ROWS)[:SAMPLED_ROWS])
            self._lots, self._numbers = self._lots[lowest], self._numbers[lowest]

    def columns(self) -> dict[str, Column]:
        columns = {}
        for place, name in enumerate(self._names):
            numbers = self._numbers[:, place].copy()
            if self._missing[place] and not np.isnan(numbers).any():
                numbers[0] = np.nan  # else a rare gap would find no column that tells of it
            columns[name] = Column(numbers)
        return columns


def _count(column: RawColumn, counts: dict[str, int]) -> None:
    values, rows = counted(column)
    for value, count in zip(values, rows.tolist(), strict=True):
        try:
            key = canonical(value) if count else None
        except TypeError:
            continue
        if key is not None:
            counts[key] = counts.get(key, 0) + count
