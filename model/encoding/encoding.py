"""Encoder: raw values to arrays, the same in training, publishing and serving.

Fitted on the training split only, then frozen in the bundle. What becomes of a value is told where it is
done: `model.encoding.categories` and `model.encoding.numbers`. Knows nothing about files, networks or HTTP.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self, cast

import numpy as np
import numpy.typing as npt
import orjson

from model.encoding.categories import (
    CategoricalEncoder,
    ListEncoder,
    Vocabulary,
)
from model.encoding.columns import Column, ListColumn, RawColumn, Rows
from model.encoding.numbers import NumericEncoder
from model.errors import FulcrumError
from model.schema import EmbeddedFeature, FeatureSpec, ListFeature, NumericFeature, Schema, Side

_FORMAT = 1

FeatureEncoder = CategoricalEncoder | ListEncoder | NumericEncoder


@dataclass(frozen=True)
class EncodedRows:
    """Rows of one side as the network takes them.

    Attributes:
        ids: embedding indices, int64 [R, id columns]; 0 where there is no value.
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

    def __init__(self, features: Sequence[FeatureEncoder]) -> None:
        self.features = {feature.name: feature for feature in features}
        self.id_place: dict[str, slice] = {}
        self.numeric_place: dict[str, slice] = {}
        self.id_columns = self.numeric_columns = 0
        for feature in features:
            if isinstance(feature, NumericEncoder):
                start, self.numeric_columns = self.numeric_columns, self.numeric_columns + feature.columns
                self.numeric_place[feature.name] = slice(start, self.numeric_columns)
            else:
                start, self.id_columns = self.id_columns, self.id_columns + feature.columns
                self.id_place[feature.name] = slice(start, self.id_columns)

    @cached_property
    def defaults(self) -> EncodedRows:
        """One row [1, ...] of which nothing is known: every feature missing."""
        return self.encode({}, 1)

    @cached_property
    def table_rows(self) -> npt.NDArray[np.int64]:
        """Rows of the table behind each id column, [id columns]: an id is at least 0, and less than these."""
        rows = np.zeros(self.id_columns, np.int64)
        for name, place in self.id_place.items():
            feature = self.features[name]
            if not isinstance(feature, NumericEncoder):
                rows[place] = feature.vocabulary.cardinality
        return rows

    def encode(self, columns: Mapping[str, RawColumn], rows: int) -> EncodedRows:
        """Encode by feature name; a feature that `columns` lacks is missing in every row."""
        encoded = EncodedRows(
            np.zeros((rows, self.id_columns), np.int64), np.zeros((rows, self.numeric_columns), np.float32)
        )
        absent = Column([None], np.zeros(rows, np.int64))
        for name in self.features:
            self._put(encoded, name, slice(None), columns.get(name, absent))
        return encoded

    def overwrite(
        self, encoded: EncodedRows, name: str, rows: Rows, values: Sequence[Any] | npt.NDArray[Any]
    ) -> None:
        """Put raw `values` of one feature in place of what `encoded` holds in `rows`."""
        self._put(encoded, name, rows, Column(values))

    def _put(self, encoded: EncodedRows, name: str, rows: Rows, column: RawColumn) -> None:
        feature = self.features[name]
        if isinstance(feature, ListEncoder):
            encoded.ids[rows, self.id_place[name]] = feature.encode(column)
        elif isinstance(column, ListColumn):
            raise FulcrumError(f"feature {name!r}: expected one value a row, found lists")
        elif isinstance(feature, CategoricalEncoder):
            encoded.ids[rows, self.id_place[name].start] = feature.encode(column)
        else:
            encoded.numeric[rows, self.numeric_place[name]] = feature.encode(column)


class Encoder:
    """All features' encoders. `sides[side]` encodes one side; user and context columns stand side by side."""

    def __init__(self, schema: Schema, features: Mapping[str, FeatureEncoder]) -> None:
        self.schema = schema
        self.features = dict(features)
        self.sides: dict[Side, SideEncoder] = {
            side: SideEncoder([self.features[spec.name] for spec in schema.side(side)])
            for side in ("user", "context", "item")
        }

    @classmethod
    def fit(cls, schema: Schema, columns: Mapping[str, RawColumn]) -> Self:
        """Fit every feature on the training rows.

        Args:
            schema: declares the features.
            columns: training rows by feature name, one column for every feature.
        """
        return cls(schema, _made(schema, lambda spec: _fitted(spec, columns[spec.name])))

    def encode(self, columns: Mapping[str, RawColumn], rows: int) -> tuple[EncodedRows, EncodedRows]:
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
            features = _made(schema, lambda spec: _restored(spec, states[spec.name]))
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
            raise FulcrumError(
                f"encoder: does not fit its schema ({type(error).__name__}: {error})"
            ) from error
        return cls(schema, features)

    @cached_property
    def fingerprint(self) -> str:
        """Names every number that this encoder makes, and what of: packed rows of two encoders are told apart
        by it. `past_until` is left out, as it moves with each publishing.
        """
        data = self.schema.data
        layout = [[spec.name, spec.side, spec.kind, spec.column, spec.expr] for spec in self.schema.features]
        past = [spec.model_dump() for spec in data.past]
        length = data.video_len.model_dump() if data.video_len else None
        digest = hashlib.sha256(orjson.dumps([layout, past, length]))
        digest.update(self.to_json())
        return digest.hexdigest()[:32]


def _made(schema: Schema, make: Callable[[FeatureSpec], FeatureEncoder]) -> dict[str, FeatureEncoder]:
    """Encoders by name; those that share a vocabulary take that of its owner."""
    features: dict[str, FeatureEncoder] = {}
    for spec in schema.features:
        if not (isinstance(spec, EmbeddedFeature) and spec.shares is not None):
            features[spec.name] = make(spec)
    for spec in schema.features:
        if isinstance(spec, EmbeddedFeature) and spec.shares is not None:
            owner = cast(CategoricalEncoder | ListEncoder, features[spec.shares])
            features[spec.name] = _embedded(spec, owner.vocabulary)
    return {spec.name: features[spec.name] for spec in schema.features}


def _embedded(spec: EmbeddedFeature, vocabulary: Vocabulary) -> CategoricalEncoder | ListEncoder:
    kind = ListEncoder if isinstance(spec, ListFeature) else CategoricalEncoder
    return kind(spec, vocabulary)  # type: ignore[arg-type]


def _fitted(spec: FeatureSpec, column: RawColumn) -> FeatureEncoder:
    if isinstance(spec, ListFeature):
        return ListEncoder.fit(spec, column)
    if isinstance(column, ListColumn):
        raise FulcrumError(
            f"feature {spec.name!r}: its column holds lists; make it of kind multi or sequence"
        )
    if isinstance(spec, NumericFeature):
        return NumericEncoder.fit(spec, column)
    return CategoricalEncoder.fit(spec, column)


def _restored(spec: FeatureSpec, state: Mapping[str, Any]) -> FeatureEncoder:
    if isinstance(spec, NumericFeature):
        return NumericEncoder.from_state(spec, state)
    return _embedded(spec, Vocabulary.from_state(state))
