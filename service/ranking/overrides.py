"""Overrides: feature values that a request brings, checked by name and kind, written over the store's rows.

Knows the bundle's encoder; knows neither stores nor the network.

Shapes: N candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import numpy.typing as npt

from model.encoding import EncodedRows, Encoder, FeatureEncoder, ListEncoder, NumericEncoder
from model.encoding.columns import Rows
from model.errors import dotted, shown
from model.schema import Side
from service.contract.errors import FieldProblem, InvalidRequestError

_GIVEN_IN: Mapping[Side, str] = {
    "user": "user_features",
    "context": "context",
    "item": "candidates[].features",
}

Values = Mapping[str, Any]


def encode_context(encoder: Encoder, values: Values) -> EncodedRows:
    """The request's context as one row; what it leaves out is missing."""
    _check(encoder, "context", values, "context")
    context = encoder.sides["context"]
    row = context.defaults.take(np.zeros(1, np.int64))
    for name, value in values.items():
        context.overwrite(row, name, slice(None), [value])
    return row


def override_user(encoder: Encoder, row: EncodedRows, values: Values) -> None:
    """Put the request's user features in place of the store's."""
    _check(encoder, "user", values, "user_features")
    for name, value in values.items():
        _overwrite(encoder, "user", row, name, slice(None), [value])


def override_lengths(
    encoder: Encoder,
    items: EncodedRows,
    video_len_s: npt.NDArray[np.float64],
    given: npt.NDArray[np.float64],
) -> None:
    """Put the request's video lengths, NaN where it has none, in place of the store's, and of the features
    made of them.
    """
    rows = np.flatnonzero(~np.isnan(given))
    video_len_s[rows] = given[rows]
    length = encoder.schema.data.video_len
    if length is None:
        return
    in_column_unit = given[rows] * length.per_second
    for name in encoder.schema.length_features():
        _overwrite(encoder, "item", items, name, rows, in_column_unit)


def override_items(encoder: Encoder, items: EncodedRows, features: Sequence[Values]) -> None:
    """Put the candidates' own features [N] in place of the store's."""
    known = encoder.sides["item"].features
    columns = {name: _column(features, name) for name in dict.fromkeys(chain.from_iterable(features))}
    for name, (_, values) in columns.items():
        feature, of_each_type = known.get(name), dict(zip(map(type, values), values, strict=True)).values()
        if feature is None or any(_expected(feature, value) for value in of_each_type):
            for row, given in enumerate(features):  # the first that is wrong is told
                _check(encoder, "item", given, f"candidates[{row}].features")
    for name, (rows, values) in columns.items():
        _overwrite(encoder, "item", items, name, rows, values)


def _column(features: Sequence[Values], name: str) -> tuple[Rows, list[Any]]:
    """The values of a feature, and the candidates that have one."""
    try:
        return slice(None), list(map(itemgetter(name), features))
    except KeyError:  # not all of them
        rows = [row for row, given in enumerate(features) if name in given]
        return np.array(rows), [features[row][name] for row in rows]


def _overwrite(
    encoder: Encoder,
    side: Side,
    encoded: EncodedRows,
    name: str,
    rows: Rows,
    values: Sequence[Any] | npt.NDArray[np.float64],
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
            raise InvalidRequestError(FieldProblem(dotted((where, name)), _unknown(encoder, side, name)))
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
