"""Whiskers: changes in per cent with their intervals, around a line at 0, as a page draws them.

Places and words only: a template makes the picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from training.report.findings.findings import DASH, MINUS

_RIGHT, _WIDTH, _ROW = 92, 640, 34
_LEFT = 76
_PER_LETTER = 7.5
Ends = Sequence[float | None]


@dataclass(frozen=True)
class Line:
    """A row of the picture.

    Attributes:
        name: of what changes.
        y: its height.
        x, low, high: the change and its interval across; None without.
        text: the change in words.
        verdict: `more`, `less` or `undecided`.
    """

    name: str
    y: float
    x: float | None
    low: float | None
    high: float | None
    text: str
    verdict: str


@dataclass(frozen=True)
class Whiskers:
    """Changes with their intervals, around a line at 0."""

    lines: Sequence[Line]
    zero: float
    width: int
    height: int
    ticks: Sequence[tuple[float, str]]


def whiskers(rows: Iterable[tuple[str, float | None, Ends | None]]) -> Whiskers:
    """Of names with changes, fractions, and their intervals."""
    named = [(name, value, ends or (None, None)) for name, value, ends in rows]
    known = [0.0] + [end for _, value, ends in named for end in (value, *ends) if end is not None]
    step = round_step(max(max(known) - min(known), 1e-4))
    first, last = math.floor(min(known) / step), math.ceil(max(known) / step)
    left = max([_LEFT, *(_PER_LETTER * len(name) + 12 for name, _, _ in named)])

    def across(value: float | None) -> float | None:
        inside = _WIDTH - left - _RIGHT
        return None if value is None else left + inside * (value / step - first) / max(last - first, 1)

    lines = [
        Line(
            name,
            _ROW * (at + 0.5),
            across(value),
            across(ends[0]),
            across(ends[1]),
            signed(value),
            _verdict(ends),
        )
        for at, (name, value, ends) in enumerate(named)
    ]
    ticks = [(across(at * step) or 0.0, tick(at * step)) for at in range(first, last + 1)]
    return Whiskers(lines, across(0.0) or 0.0, _WIDTH, _ROW * len(lines) + 24, ticks)


def round_step(span: float) -> float:
    """A round number that goes two to five times into a span."""
    power = 10.0 ** math.floor(math.log10(span))
    return next(power * part for part in (0.2, 0.5, 1.0, 2.0) if span / (power * part) <= 5.0)


def tick(value: float) -> str:
    """A fraction on an axis."""
    text = f"{100 * value:+.3g}".replace("-", MINUS)
    return f"{text}%" if abs(value) > 1e-12 else "0"


def signed(value: float | None) -> str:
    """A change in per cent."""
    return DASH if value is None else f"{value:+.2%}".replace("-", MINUS)


def _verdict(interval: Ends) -> str:
    low, high = interval
    if low is None or high is None:
        return "undecided"
    return "more" if low > 0 else "less" if high < 0 else "undecided"
