"""Categories to rows of embedding tables: one value a row of the log, or a list of them.

Vocabularies are fitted on the training split only. Values compare as canonical strings:

| value | becomes |
| --- | --- |
| None, NaN, infinite, empty string | 0, missing |
| True, False | "1", "0" |
| 3, 3.0, "3" | "3" |
| without a row of its own | a bucket that it shares by its hash, or 1, unknown, where there are none |
| a list in place of a value, or another wrong type | 1, unknown |

A list keeps its values in columns side by side, missing ones left out, padded with 0.

Shapes: R rows, V distinct values, E elements of lists, L values of a list.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt

from model.encoding.columns import Column, ListColumn, RawColumn
from model.encoding.key_index import KeyIndex, hash_keys
from model.schema.features import EmbeddedFeature, ListFeature, SequenceFeature

MISSING, UNKNOWN, FIRST_KNOWN = 0, 1, 2
"""Indices of every embedding table: no value, a value unknown to training, the first known one."""

_ROWS_AT_ONCE = 1 << 16


def canonical(value: Any) -> str | None:
    """The string by which categories compare, None for a missing value.

    Raises:
        TypeError: the value is no text, number or truth value.
    """
    if value is None:
        return None
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool | np.bool_):
        return "1" if value else "0"
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real):
        number = float(value)
        if not math.isfinite(number):
            return None
        return str(int(number)) if number.is_integer() else repr(number)
    if isinstance(value, Decimal):
        if not value.is_finite():
            return None
        if value == value.to_integral_value():
            return str(int(value))
        number = float(value)
        # As the float that it is written as, where there is one: 3.10 is 3.1.
        if Decimal(repr(number)) == value:
            return canonical(number)
        return f"{value:f}".rstrip("0")
    raise TypeError(f"expected text or a number, found {type(value).__name__}")


class Vocabulary:
    """Which values have rows of their own in an embedding table, and what becomes of the others."""

    def __init__(self, known: Sequence[str] | None, hash_buckets: int | None) -> None:
        self.known = known
        self.hash_buckets = hash_buckets
        self._index = KeyIndex.build(known) if known is not None else None
        self._first_bucket = FIRST_KNOWN + len(known or ())

    @classmethod
    def fit(
        cls,
        spec: EmbeddedFeature,
        values: Sequence[Any] | npt.NDArray[Any],
        counts: npt.NDArray[np.int64],
    ) -> Self:
        """Take the training split's values: the most frequent first, ties by name.

        Args:
            spec: says which are admitted.
            values: raw values, [V].
            counts: how often each stands in the training split, [V].
        """
        if not spec.has_vocabulary:
            return cls(None, spec.hash_buckets)
        sums: dict[str, int] = {}
        for value, count in zip(values, counts.tolist(), strict=True):
            try:
                key = canonical(value)
            except TypeError:
                continue
            if key is not None and count:
                sums[key] = sums.get(key, 0) + count
        kept = [key for key, count in sums.items() if count >= spec.min_count]
        kept.sort(key=lambda key: (-sums[key], key))
        return cls(kept[: spec.max_size], spec.hash_buckets)

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table, those of missing and unknown included."""
        return self._first_bucket + (self.hash_buckets or 0)

    def find(self, values: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """Embedding index of each raw value."""
        if set(map(type, values)) == {str} and "" not in values:
            return self._rows(cast(Sequence[str], values))  # each is its canonical string already
        indices = np.full(len(values), UNKNOWN, np.int64)
        places, keys = [], []
        for place, value in enumerate(values):
            try:
                key = canonical(value)
            except TypeError:
                continue
            if key is None:
                indices[place] = MISSING
            else:
                places.append(place)
                keys.append(key)
        indices[places] = self._rows(keys)
        return indices

    def _rows(self, keys: Sequence[str]) -> npt.NDArray[np.int64]:
        hashes = hash_keys(keys)
        others: npt.NDArray[np.int64] = np.full(len(keys), UNKNOWN, np.int64)
        if self.hash_buckets is not None:
            others = self._first_bucket + (hashes % np.uint64(self.hash_buckets)).astype(np.int64)
        if self._index is None:
            return others
        rows = self._index.find_hashes(hashes)
        return np.where(rows >= 0, rows + FIRST_KNOWN, others)

    def state(self) -> dict[str, Any]:
        """What `encoder.json` keeps."""
        state: dict[str, Any] = {}
        if self.known is not None:
            state["vocabulary"] = list(self.known)
        if self.hash_buckets is not None:
            state["hash_buckets"] = self.hash_buckets
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """The inverse of `state`."""
        return cls(state.get("vocabulary"), state.get("hash_buckets"))


class CategoricalEncoder:
    """One value a row: one column of embedding indices."""

    columns = 1

    def __init__(self, spec: EmbeddedFeature, vocabulary: Vocabulary) -> None:
        self.name = spec.name
        self.vocabulary = vocabulary
        self._shares = spec.shares

    @classmethod
    def fit(cls, spec: EmbeddedFeature, column: Column) -> Self:
        """With a vocabulary of the training split's values."""
        return cls(spec, Vocabulary.fit(spec, *counted(column)))

    def encode(self, column: Column) -> npt.NDArray[np.int64]:
        """Embedding index of each row: [R]."""
        return column.spread(self.vocabulary.find(column.values))

    def state(self) -> dict[str, Any]:
        """What `encoder.json` keeps."""
        return {"shares": self._shares} if self._shares is not None else self.vocabulary.state()


class ListEncoder:
    """Several values a row: as many columns of embedding indices as values are kept.

    A multi-valued feature keeps its first values in their order, a sequence its last ones, newest first.
    """

    def __init__(self, spec: ListFeature, vocabulary: Vocabulary) -> None:
        self.name = spec.name
        self.vocabulary = vocabulary
        self.separator = spec.separator
        self.columns: int = spec.max_values  # type: ignore[attr-defined]
        self.newest_first = isinstance(spec, SequenceFeature)
        self._shares = spec.shares

    @classmethod
    def fit(cls, spec: ListFeature, column: RawColumn) -> Self:
        """With a vocabulary of all elements of the training split's lists."""
        return cls(spec, Vocabulary.fit(spec, *counted(as_lists(column, spec.separator))))

    def encode(self, column: RawColumn) -> npt.NDArray[np.int64]:
        """Embedding indices of each row: [R, L]."""
        lists = as_lists(column, self.separator)
        elements = lists.elements.spread(self.vocabulary.find(lists.elements.values))
        present = elements != MISSING
        before = np.concatenate([[0], np.cumsum(present)])
        first, stop = before[lists.first], before[lists.stop]
        elements = np.append(elements[present], MISSING)  # what place -1 leads to
        encoded = np.empty((len(lists), self.columns), np.int64)
        steps = np.arange(self.columns)
        for start in range(0, len(encoded), _ROWS_AT_ONCE):
            rows = slice(start, start + _ROWS_AT_ONCE)
            low, high = first[rows, None], stop[rows, None]
            place = high - 1 - steps if self.newest_first else low + steps  # [R, L]
            place[place < low if self.newest_first else place >= high] = -1
            np.take(elements, place, out=encoded[rows], mode="wrap")
        return encoded

    def state(self) -> dict[str, Any]:
        """What `encoder.json` keeps."""
        own = {"shares": self._shares} if self._shares is not None else self.vocabulary.state()
        return own | {"max_values": self.columns, "separator": self.separator}


def as_lists(column: RawColumn, separator: str | None) -> ListColumn:
    """A column of raw values, each a list, text or nothing, as lists.

    Without a separator, and of other types than text, a value that is no list counts as the only one of its.
    """
    if isinstance(column, ListColumn):
        return column
    elements: list[Any] = []
    stops = np.zeros(len(column.values) + 1, np.int64)
    for place, value in enumerate(column.values):
        elements.extend(_parted(value, separator))
        stops[place + 1] = len(elements)
    return ListColumn(Column(elements), column.spread(stops[:-1]), column.spread(stops[1:]))


def _parted(value: Any, separator: str | None) -> Sequence[Any]:
    if isinstance(value, list | tuple):
        return value
    if isinstance(value, np.ndarray):
        return value.tolist() if value.ndim else [value.item()]
    if isinstance(value, str) and separator is not None:
        return [part.strip() for part in value.split(separator)]
    return [] if value is None else [value]


def counted(column: RawColumn) -> tuple[Sequence[Any] | npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Distinct values, or elements, and in how many rows each stands: [V] both."""
    if isinstance(column, Column):
        return column.values, column.counts()
    elements, counts = column.elements, column.element_counts()
    if elements.codes is None:
        return elements.values, counts
    by_value = np.bincount(elements.codes, counts, minlength=len(elements.values))
    return elements.values, by_value.astype(np.int64)
