"""Conditions: what must hold of a request, or of a candidate's length, for a part of a config to count.

    when: {tab: discover, hour: {from: 18, below: 24}}

holds where each named value is among those listed, or in the range. A value that is not known holds nothing.
A test is kept in one spelling: its values once each and sorted, its numbers as floats.
Knows no formulas and no maps. Shapes: N candidates.
"""

import math
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, PlainValidator

from model.errors import shown
from model.fusion.names import Name

LENGTH = "video_len_s"
"""The one name of a condition that is a candidate's."""

_EXPECTED = "expected a value, a list of values, or a range {from: number, below: number}"
_MOST = 100
_LARGEST_WHOLE = 2**53
_ENDS = ("from", "below")


def _test(value: object) -> list[object] | dict[str, float]:
    """One spelling of a test: the list of its values, or its range."""
    if isinstance(value, Mapping):
        return _range(value)
    values = list(value) if isinstance(value, list | tuple) else [value]
    if not 0 < len(values) <= _MOST:
        raise ValueError(f"found {len(values)} values; expected 1 to {_MOST}")
    known = {(type(scalar).__name__, scalar) for scalar in map(_scalar, values)}  # since True == 1.0
    return [scalar for _, scalar in sorted(known)]


def _scalar(value: object) -> object:
    if isinstance(value, bool):
        return value
    number = _number(_meant(value))
    if number is None and isinstance(value, str):
        return value
    if number is None:
        raise ValueError(f"{_EXPECTED}, found {shown(value)}")
    return number


def _number(value: object) -> float | None:
    """The number, if it is one and finite."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(value, int) and abs(value) > _LARGEST_WHOLE:
        raise ValueError(f"{shown(value)} is beyond 2^53, where whole numbers are no longer exact")
    return float(value) + 0.0 if math.isfinite(value) else None


def _range(value: Mapping[Any, object]) -> dict[str, float]:
    ends: dict[str, float] = {}
    for key, end in value.items():
        number = _number(end)
        if key not in _ENDS or number is None:
            raise ValueError(f"{_EXPECTED}, found {shown(key)}: {shown(end)}")
        ends[key] = number
    if not ends:
        raise ValueError(f"{_EXPECTED}, found an empty mapping")
    if ends.get("from", -np.inf) >= ends.get("below", np.inf):
        raise ValueError(f"from {ends['from']:g} is not less than below {ends['below']:g}; expected it to be")
    return ends


def _lengths_are_numbers(when: dict[str, Any]) -> dict[str, Any]:
    test = when.get(LENGTH, {})
    if not isinstance(test, dict) and any(not isinstance(one, float) for one in test):
        raise ValueError(f"{LENGTH} is a number of seconds, and is compared with numbers alone")
    return when


def _no_length(when: dict[str, Any]) -> dict[str, Any]:
    if LENGTH in when:
        raise ValueError(f"{LENGTH} is a candidate's; here stand conditions of a request")
    return when


Test = Annotated[Any, PlainValidator(_test)]
Condition = Annotated[dict[Name, Test], Field(min_length=1), AfterValidator(_lengths_are_numbers)]
"""Of a request, and of a candidate's length by the name `video_len_s`."""
RequestCondition = Annotated[Condition, AfterValidator(_no_length)]


def holds(when: Mapping[str, Any], request: Mapping[str, Any]) -> bool:
    """Whether all tests hold of a request, the one of the length apart."""
    return all(
        name in request and _passes(test, request[name]) for name, test in when.items() if name != LENGTH
    )


def _passes(test: Any, value: object) -> bool:
    number = _meant(value)
    if isinstance(test, dict):
        return number is not None and bool(test.get("from", -np.inf) <= number < test.get("below", np.inf))
    return any(_same(one, value, number) for one in test)


def _same(one: object, value: object, number: int | float | None) -> bool:
    """Whether values are equal as the encoder takes them: 21, 21.0 and "21" are one, true and 1 are two."""
    if isinstance(one, bool) or isinstance(value, bool):
        return one is value
    return one == value if number is None else one == number


def _meant(value: object) -> int | float | None:
    """The number that a value is, or spells as numbers are spelled ("007" is a name); true is none."""
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            return None
        spelled = value in (f"{number:.17g}", str(number)) and np.isfinite(number)
        return number if spelled else None
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


def lengths_that_hold(when: Mapping[str, Any], video_len_s: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the test of the length holds, [N]; of an unknown length none does."""
    test = when.get(LENGTH)
    if test is None:
        return np.ones(len(video_len_s), np.bool_)
    if isinstance(test, dict):
        inside = (video_len_s >= test.get("from", -np.inf)) & (video_len_s < test.get("below", np.inf))
        return np.asarray(inside, np.bool_)
    return np.isin(video_len_s, test)
