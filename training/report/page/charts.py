"""Charts: lines and dots between two axes, as a page draws them. Places and words: a template makes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from training.report.page.whiskers import round_step

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 26, 10, 24
Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Series:
    """What one line or cloud shows.

    Attributes:
        kind: its class in the style: `data`, `now`, `new`, `rule`.
        points: across and up.
        line: whether they are joined; else each is a dot.
    """

    kind: str
    points: Points
    line: bool = True


@dataclass(frozen=True)
class Chart:
    """A chart in its places.

    Attributes:
        title: over it.
        width, height: of it.
        paths: of lines, by kind.
        dots: by kind, across and down.
        across, down: ticks with their texts.
        left, right, top, bottom: of the inside.
    """

    title: str
    width: int
    height: int
    paths: Sequence[tuple[str, str]]
    dots: Sequence[tuple[str, float, float]]
    across: Sequence[tuple[float, str]]
    down: Sequence[tuple[float, str]]
    left: int
    right: int
    top: int
    bottom: int


def chart(
    title: str,
    series: Sequence[Series],
    across: Iterable[tuple[float, str]],
    down: Iterable[tuple[float, str]],
    *,
    size: tuple[int, int] = (320, 200),
) -> Chart:
    """Series between axes that hold all points and ticks.

    Args:
        title: over it.
        series: at least one point in all.
        across, down: ticks with their texts.
        size: of the whole.
    """
    across, down = list(across), list(down)
    points = [point for one in series for point in one.points]
    width, height = size
    right, bottom = width - _RIGHT, height - _BOTTOM
    x = _scale([a for a, _ in points] + [a for a, _ in across], _LEFT, right)
    y = _scale([b for _, b in points] + [b for b, _ in down], bottom, _TOP)
    placed = [(one, [(x(a), y(b)) for a, b in one.points]) for one in series]
    return Chart(
        title,
        width,
        height,
        [(one.kind, " ".join(f"{a:.1f},{b:.1f}" for a, b in at)) for one, at in placed if one.line],
        [(one.kind, a, b) for one, at in placed if not one.line for a, b in at],
        [(x(value), text) for value, text in across],
        [(y(value), text) for value, text in down],
        _LEFT,
        right,
        _TOP,
        bottom,
    )


def ticks(values: Iterable[float], text: Callable[[float], str]) -> list[tuple[float, str]]:
    """Round numbers around values, and 0, with their texts."""
    known = [0.0, *values]
    step = round_step(max(max(known) - min(known), 1e-9))
    first, last = math.floor(min(known) / step), math.ceil(max(known) / step)
    return [(at * step, text(at * step)) for at in range(first, last + 1)]


def _scale(values: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    low, high = min(values), max(values)
    return lambda value: start + (end - start) * (value - low) / ((high - low) or 1.0)
