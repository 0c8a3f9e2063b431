"""Labels: where the names of points go, so that none lies on another.

Knows rectangles in points (1/72 inch), neither axes nor networks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

_GAPS = (4.0, 9.0, 16.0, 25.0, 36.0, 48.0, 62.0, 78.0, 96.0)
_SIDES = tuple(
    (math.cos(math.radians(angle)), math.sin(math.radians(angle)))
    for angle in (20, 160, -20, -160, 55, 125, -55, -125, 90, -90, 0, 180)
)
_WIDE, _HIGH = 0.57, 1.15


@dataclass(frozen=True)
class Placed:
    """The middle of a label, and whether it lies far enough from its point to need a line to it."""

    x: float
    y: float
    far: bool


def place_labels(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    area: tuple[float, float],
    *,
    size: float,
    taken: Sequence[tuple[float, float, float, float]] = (),
) -> list[Placed]:
    """One after another, each at the nearest place that is free, or least taken.

    Args:
        points: in points from the lower left corner of the area.
        texts: of the labels.
        area: width and height that labels stay within.
        size: of the font.
        taken: rectangles (left, bottom, right, top) that are not free.
    """
    boxes = [*taken, *((x - 4, y - 4, x + 4, y + 4) for x, y in points)]
    # What lies in the midst of others has the least choice.
    order = sorted(range(len(points)), key=lambda i: -_neighbours(points, i))
    found: dict[int, Placed] = {}
    for index in order:
        x, y = points[index]
        width, height = _WIDE * size * len(texts[index]), _HIGH * size
        best, least = None, float("inf")
        for step, gap in enumerate(_GAPS):
            for side, (right, up) in enumerate(_SIDES):
                middle = (
                    x + right * gap + math.copysign(min(1, 2 * abs(right)), right) * width / 2,
                    y + up * (gap + height / 2),
                )
                box = (
                    middle[0] - width / 2,
                    middle[1] - height / 2,
                    middle[0] + width / 2,
                    middle[1] + height / 2,
                )
                outside = max(0.0, -box[0], -box[1], box[2] - area[0], box[3] - area[1])
                cost = sum(_overlap(box, other) for other in boxes) + 1000 * outside + step + 0.01 * side
                if cost < least:
                    best, least = (middle, box, step > 2), cost
        assert best is not None  # noqa: S101 (there are places to choose from)
        middle, box, far = best
        boxes.append(box)
        found[index] = Placed(*middle, far)
    return [found[index] for index in range(len(points))]


def _neighbours(points: Sequence[tuple[float, float]], index: int) -> int:
    x, y = points[index]
    return sum(abs(x - other) < 60 and abs(y - above) < 30 for other, above in points)


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0
