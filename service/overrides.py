"""Overrides: feature values that a request brings, checked by name and kind, written over the store's rows.

Knows the bundle's encoder; knows neither stores nor the network.

Shapes: N candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from model.encoding import Column, EncodedRows, Encoder, FeatureEncoder, ListEncoder, NumericEncoder
from model.schema import Side
from service.errors import FieldProblem, InvalidRequestError, shown
from service.schemas import Candidate

__all__ = ["encode_context", "override_items", "override_lengths", "override_user"]

_GIVEN_IN: Mapping[Side, str] = {
    "user": "user_features",
    "context": "context",
    "item": "candidates[].features",
}

Values = Mapping[str, Any]


def encode_context(encoder: Encoder, values: Values) -> EncodedRows:
    """The request's context as one row; what it leaves out is missing."""
    _check(encoder, "context", values, "context")
    columns = {name: Column([value]) for name, value in values.items()}
    return encoder.sides["context"].encode(columns, 1)


def override_user(encoder: Encoder, row: EncodedRows, values: Values) -> None:
    """Put the request's user features in place of the store's."""
    _check(encoder, "user", values, "user_features")
    for name, value in values.items():
        _overwrite(encoder, "user", row, name, [0], [value])


def override_lengths(
    encoder: Encoder,
    items: EncodedRows,
    video_len_s: npt.NDArray[np.float64],
    candidates: Sequence[Candidate],
) -> None:
    """Put the request's video lengths in place of the store's, and of the features made of them."""
    given = np.array([c.video_len if c.video_len is not None else np.nan for c in candidates])  # [N]
    rows = np.flatnonzero(~np.isnan(given))
    if not rows.size:
        return
    video_len_s[rows] = given[rows]
    length = encoder.schema.data.video_len
    if length is None:
        return
    in_column_unit = (given[rows] * length.per_second).tolist()
    for name in encoder.schema.length_features():
        _overwrite(encoder, "item", items, name, rows.tolist(), in_column_unit)


def override_items(encoder: Encoder, items: EncodedRows, candidates: Sequence[Candidate]) -> None:
    """Put the candidates' own features in place of the store's."""
    given: dict[str, tuple[list[int], list[Any]]] = {}
    for row, candidate in enumerate(candidates):
        if not candidate.features:
            continue
        _check(encoder, "item", candidate.features, f"candidates[{row}].features")
        for name, value in candidate.features.items():
            rows, values = given.setdefault(name, ([], []))
            rows.append(row)
            values.append(value)
    for name, (rows, values) in given.items():
        _overwrite(encoder, "item", items, name, rows, values)


def _overwrite(
    encoder: Encoder, side: Side, encoded: EncodedRows, name: str, rows: list[int], values: list[Any]
) -> None:
    raw: Any = values
    if isinstance(encoder.features[name], NumericEncoder):
        raw = np.array(values, np.float64)  # None is NaN; encoded at once, not one by one
    encoder.sides[side].overwrite(encoded, name, rows, raw)


def _check(encoder: Encoder, side: Side, values: Values, where: str) -> None:
    features = encoder.sides[side].features
    for name, value in values.items():
        feature = features.get(name)
        if feature is None:
            raise InvalidRequestError(FieldProblem(f"{where}.{_short(name)}", _unknown(encoder, side, name)))
        expected = _expected(feature, value)
        if expected is not None:
            raise InvalidRequestError(
                FieldProblem(f"{where}.{name}", f"expected {expected}, found {shown(value)}")
            )


def _expected(feature: FeatureEncoder, value: Any) -> str | None:
    """What the feature takes, where the value is something else: the encoder would take it in silence."""
    if isinstance(feature, ListEncoder):
        if value is None or isinstance(value, list):
            return None
        if feature.separator is None:
            return "a list"
        return None if isinstance(value, str) else f"a list, or text parted by {feature.separator!r}"
    if isinstance(feature, NumericEncoder):
        return "a number" if isinstance(value, str | list) else None
    return "one value" if isinstance(value, list) else None


def _unknown(encoder: Encoder, side: Side, name: str) -> str:
    for other, where in _GIVEN_IN.items():
        if name in encoder.sides[other].features:
            return f"not one of the {side} features; give it in {where}"
    return f"unknown {side} feature; the bundle has {', '.join(encoder.sides[side].features) or 'none'}"


def _short(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:57]}..."
