"""Encoder: raw values to arrays, the same in training, publishing and serving.

Fitted on the training split only, then frozen in the bundle. Knows nothing about files, networks or HTTP.

What becomes of a value:

| value | categorical, id | numeric |
| --- | --- | --- |
| None, NaN, empty string | 0, missing | missing |
| infinite | 0, missing | missing |
| True, False | "1", "0" | 1.0, 0.0 |
| 3, 3.0, "3" | "3" | 3.0 |
| unseen in training, or too rare | 1, unknown | (clipped to `CLIP` deviations) |
| a list or another wrong type | 1, unknown | missing |
| text that is no number | as it stands | missing |

A missing number becomes the training mean (0 once standardised); a feature that had missing values in
training has a second column that says so.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from numbers import Integral, Real
from typing import Any, Self, TypeVar

import numpy as np
import numpy.typing as npt
import orjson

from model.errors import FulcrumError
from model.key_index import KeyIndex, hash_key
from model.schema import CategoricalFeature, NumericFeature, Schema, Side

__all__ = [
    "CLIP",
    "FIRST_KNOWN",
    "MISSING",
    "UNKNOWN",
    "CategoricalEncoder",
    "Column",
    "EncodedRows",
    "Encoder",
    "NumericEncoder",
    "canonical",
]

MISSING, UNKNOWN, FIRST_KNOWN = 0, 1, 2
"""Indices of every embedding table: no value, a value unknown to training, the first known one."""

CLIP = 5.0
"""Standardised numbers stay within so many standard deviations."""

_QUANTILES = 257
_LARGEST, _SMALLEST = 1e100, 1e-100  # beyond one counts as it, below the other as 0: squares stay finite
_ROUNDING = 1e-12  # a deviation below this share of the mean is rounding, not scale
_T = TypeVar("_T", bound=np.generic)
_FORMAT = 1


@dataclass(frozen=True)
class Column:
    """Raw values of one feature, dictionary-coded where many rows share few values.

    Attributes:
        values: raw Python values or a one-dimensional array, [V].
        codes: position in `values` of each row, int64 [R]; None where each row has its own (R = V).
    """

    values: Sequence[Any] | npt.NDArray[Any]
    codes: npt.NDArray[np.int64] | None = None

    def take(self, rows: npt.NDArray[np.bool_]) -> Column:
        """The rows that are marked; values that none of them has stay, with a count of 0."""
        if self.codes is not None:
            return Column(self.values, self.codes[rows])
        if isinstance(self.values, np.ndarray):
            return Column(self.values[rows])
        return Column([value for value, kept in zip(self.values, rows, strict=True) if kept])

    def spread(self, encoded: npt.NDArray[_T]) -> npt.NDArray[_T]:
        """From one entry a value [V] to one a row [R]."""
        return encoded if self.codes is None else encoded[self.codes]

    def counts(self) -> npt.NDArray[np.int64]:
        """Rows of each value, [V]."""
        if self.codes is None:
            return np.ones(len(self.values), np.int64)
        return np.bincount(self.codes, minlength=len(self.values))


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
    raise TypeError(f"expected text or a number, found {type(value).__name__}")


def _number(value: Any) -> float:
    """The value as a float, NaN where it is missing or of a wrong type."""
    if isinstance(value, str | Real | np.bool_):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return math.nan
        return number if math.isfinite(number) else math.nan
    return math.nan


def _numbers(values: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    if isinstance(values, np.ndarray) and values.dtype.kind in "iufb":
        numbers = values.astype(np.float64)
        numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    else:
        numbers = np.fromiter(map(_number, values), np.float64, count=len(values))
    return np.where(np.abs(numbers) < _SMALLEST, 0.0, np.clip(numbers, -_LARGEST, _LARGEST))


class CategoricalEncoder:
    """Canonical strings to embedding indices, by a vocabulary or by hashing."""

    def __init__(self, name: str, vocabulary: Sequence[str] | None, hash_buckets: int | None) -> None:
        self.name = name
        self.vocabulary = vocabulary
        self.hash_buckets = hash_buckets
        self._index = KeyIndex.build(vocabulary) if vocabulary is not None else None

    @classmethod
    def fit(cls, spec: CategoricalFeature, column: Column) -> Self:
        """Take the training split's values: the most frequent first, ties by name."""
        if spec.hash_buckets is not None:
            return cls(spec.name, None, spec.hash_buckets)
        counts: dict[str, int] = {}
        for value, count in zip(column.values, column.counts().tolist(), strict=True):
            try:
                key = canonical(value)
            except TypeError:
                continue
            if key is not None and count:
                counts[key] = counts.get(key, 0) + count
        kept = [key for key, count in counts.items() if count >= spec.min_count]
        kept.sort(key=lambda key: (-counts[key], key))
        return cls(spec.name, kept[: spec.max_size], None)

    @property
    def cardinality(self) -> int:
        """Rows of the embedding table, those of missing and unknown included."""
        known = len(self.vocabulary) if self.vocabulary is not None else self.hash_buckets or 0
        return FIRST_KNOWN + known

    def encode(self, column: Column) -> npt.NDArray[np.int64]:
        """Embedding index of each row: [R]."""
        indices = np.full(len(column.values), UNKNOWN, np.int64)
        places, keys = [], []
        for place, value in enumerate(column.values):
            try:
                key = canonical(value)
            except TypeError:
                continue
            if key is None:
                indices[place] = MISSING
            else:
                places.append(place)
                keys.append(key)
        if self._index is not None:
            rows = self._index.find(keys)
            indices[places] = np.where(rows >= 0, rows + FIRST_KNOWN, UNKNOWN)
        else:
            buckets = self.hash_buckets or 1
            indices[places] = [FIRST_KNOWN + hash_key(key) % buckets for key in keys]
        return column.spread(indices)

    def state(self) -> dict[str, Any]:
        """What `encoder.json` keeps."""
        if self.vocabulary is None:
            return {"hash_buckets": self.hash_buckets}
        return {"vocabulary": list(self.vocabulary)}

    @classmethod
    def from_state(cls, spec: CategoricalFeature, state: Mapping[str, Any]) -> Self:
        """The inverse of `state`."""
        return cls(spec.name, state.get("vocabulary"), state.get("hash_buckets"))


class NumericEncoder:
    """Numbers to standardised float32 columns: the value, and where training saw gaps, a missing flag."""

    def __init__(
        self, spec: NumericFeature, mean: float, std: float, flag: bool, quantiles: Sequence[float] | None
    ) -> None:
        self.name = spec.name
        self.transform = spec.transform
        self.mean = mean
        self.std = std
        self.flag = flag
        self.quantiles = quantiles

    @classmethod
    def fit(cls, spec: NumericFeature, column: Column) -> Self:
        """Mean, deviation and quantiles of the training split's finite values."""
        numbers = column.spread(_numbers(column.values))
        present = numbers[~np.isnan(numbers)]
        encoder = cls(spec, 0.0, 1.0, bool(len(present) < len(numbers)), None)
        if not len(present):
            return encoder
        if spec.transform == "quantile":
            encoder.quantiles = np.quantile(present, np.linspace(0.0, 1.0, _QUANTILES)).tolist()
        moved = encoder._transformed(present)
        encoder.mean = float(moved.mean())
        deviation = float(moved.std())
        encoder.std = deviation if deviation > _ROUNDING * abs(encoder.mean) else 1.0
        return encoder

    @property
    def columns(self) -> int:
        """Columns of the encoded feature: 1, or 2 with the flag."""
        return 2 if self.flag else 1

    def encode(self, column: Column) -> npt.NDArray[np.float32]:
        """Encoded rows: [R, columns]."""
        numbers = _numbers(column.values)
        missing = np.isnan(numbers)
        moved = (self._transformed(np.where(missing, 0.0, numbers)) - self.mean) / self.std
        value = np.where(missing, 0.0, np.clip(moved, -CLIP, CLIP))
        encoded = np.stack([value, missing], axis=1) if self.flag else value[:, None]
        return column.spread(encoded.astype(np.float32))

    def _transformed(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        if self.transform == "log1p":
            return np.sign(numbers) * np.log1p(np.abs(numbers))
        if self.transform == "quantile" and self.quantiles is not None:
            return _to_normal(numbers, np.asarray(self.quantiles))
        return numbers

    def state(self) -> dict[str, Any]:
        """What `encoder.json` keeps."""
        return {"mean": self.mean, "std": self.std, "flag": self.flag, "quantiles": self.quantiles}

    @classmethod
    def from_state(cls, spec: NumericFeature, state: Mapping[str, Any]) -> Self:
        """The inverse of `state`."""
        return cls(spec, state["mean"], state["std"], state["flag"], state["quantiles"])


def _to_normal(
    numbers: npt.NDArray[np.float64], quantiles: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Rank among the quantiles, mapped onto a normal deviate by the logistic approximation.

    Where several quantiles are equal, the rank is the middle of their run: interpolation from both ends.
    """
    grid = np.linspace(0.0, 1.0, len(quantiles))
    from_left = np.interp(numbers, quantiles, grid)
    from_right = 1.0 - np.interp(-numbers, -quantiles[::-1], grid)
    rank = np.clip((from_left + from_right) / 2.0, 1e-3, 1.0 - 1e-3)
    return np.log(rank / (1.0 - rank)) / 1.702


@dataclass(frozen=True)
class EncodedRows:
    """Rows of one side as the network takes them.

    Attributes:
        ids: embedding indices, int64 [R, categorical features].
        numeric: float32 [R, numeric columns].
    """

    ids: npt.NDArray[np.int64]
    numeric: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: npt.NDArray[np.int64] | slice) -> EncodedRows:
        """These rows, in this order."""
        return EncodedRows(self.ids[rows], self.numeric[rows])

    def beside(self, other: EncodedRows) -> EncodedRows:
        """The columns of `other` to the right of these."""
        return EncodedRows(
            np.concatenate([self.ids, other.ids], axis=1),
            np.concatenate([self.numeric, other.numeric], axis=1),
        )


class SideEncoder:
    """The encoders of one side's features, in the schema's order: where each feature's columns stand."""

    def __init__(self, features: Sequence[CategoricalEncoder | NumericEncoder]) -> None:
        self.features = {feature.name: feature for feature in features}
        self.id_place: dict[str, int] = {}
        self.numeric_place: dict[str, slice] = {}
        width = 0
        for feature in features:
            if isinstance(feature, CategoricalEncoder):
                self.id_place[feature.name] = len(self.id_place)
            else:
                self.numeric_place[feature.name] = slice(width, width + feature.columns)
                width += feature.columns
        self.id_columns = len(self.id_place)
        self.numeric_columns = width

    @cached_property
    def defaults(self) -> EncodedRows:
        """One row [1, ...] of which nothing is known: every feature missing."""
        return self.encode({}, 1)

    def encode(self, columns: Mapping[str, Column], rows: int) -> EncodedRows:
        """Encode by feature name; a feature that `columns` lacks is missing in every row."""
        ids = np.zeros((rows, self.id_columns), np.int64)
        numeric = np.zeros((rows, self.numeric_columns), np.float32)
        absent = Column([None], np.zeros(rows, np.int64))
        for name, feature in self.features.items():
            column = columns.get(name, absent)
            if isinstance(feature, CategoricalEncoder):
                ids[:, self.id_place[name]] = feature.encode(column)
            else:
                numeric[:, self.numeric_place[name]] = feature.encode(column)
        return EncodedRows(ids, numeric)

    def overwrite(self, encoded: EncodedRows, name: str, rows: Sequence[int], values: Sequence[Any]) -> None:
        """Put raw `values` of one feature in place of what `encoded` holds in `rows`."""
        feature = self.features[name]
        if isinstance(feature, CategoricalEncoder):
            encoded.ids[rows, self.id_place[name]] = feature.encode(Column(values))
        else:
            encoded.numeric[rows, self.numeric_place[name]] = feature.encode(Column(values))


class Encoder:
    """All features' encoders. `sides[side]` encodes one side; user and context columns stand side by side."""

    def __init__(self, schema: Schema, features: Mapping[str, CategoricalEncoder | NumericEncoder]) -> None:
        self.schema = schema
        self.features = dict(features)
        self.sides: dict[Side, SideEncoder] = {
            side: SideEncoder([self.features[spec.name] for spec in schema.side(side)])
            for side in ("user", "context", "item")
        }

    @classmethod
    def fit(cls, schema: Schema, columns: Mapping[str, Column]) -> Self:
        """Fit every feature on the training rows.

        Args:
            schema: declares the features.
            columns: training rows by feature name, one column for every feature.
        """
        return cls(
            schema,
            {
                spec.name: (
                    CategoricalEncoder.fit(spec, columns[spec.name])
                    if isinstance(spec, CategoricalFeature)
                    else NumericEncoder.fit(spec, columns[spec.name])
                )
                for spec in schema.features
            },
        )

    def encode(self, columns: Mapping[str, Column], rows: int) -> tuple[EncodedRows, EncodedRows]:
        """Rows of the log as the network's user part (user, then context columns) and item part."""
        user = self.sides["user"].encode(columns, rows).beside(self.sides["context"].encode(columns, rows))
        return user, self.sides["item"].encode(columns, rows)

    def to_json(self) -> bytes:
        """The frozen state, as the bundle keeps it; equal encoders give equal bytes."""
        state = {name: feature.state() for name, feature in self.features.items()}
        return orjson.dumps({"format": _FORMAT, "features": state}, option=orjson.OPT_INDENT_2)

    @classmethod
    def from_json(cls, schema: Schema, text: bytes) -> Self:
        """The inverse of `to_json`.

        Raises:
            FulcrumError: the text is not an encoder's, or not this schema's.
        """
        try:
            document = orjson.loads(text)
            if document["format"] != _FORMAT:
                raise FulcrumError(f"encoder: expected format {_FORMAT}, found {document['format']!r}")
            states = document["features"]
            features: dict[str, CategoricalEncoder | NumericEncoder] = {}
            for spec in schema.features:
                state = states[spec.name]
                features[spec.name] = (
                    CategoricalEncoder.from_state(spec, state)
                    if isinstance(spec, CategoricalFeature)
                    else NumericEncoder.from_state(spec, state)
                )
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise FulcrumError(
                f"encoder: does not fit its schema ({type(error).__name__}: {error})"
            ) from error
        return cls(schema, features)

    @cached_property
    def fingerprint(self) -> str:
        """Names every number that this encoder makes: packed rows of two encoders are told apart by it."""
        layout = [[spec.name, spec.side, spec.kind] for spec in self.schema.features]
        length = self.schema.data.video_len
        digest = hashlib.sha256(orjson.dumps([layout, length.model_dump() if length else None]))
        digest.update(self.to_json())
        return digest.hexdigest()[:32]
