"""Intervals over looks: a metric's difference to the control, with its confidence sequence. Knows no page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from service.console.experiments.words import ends
from service.console.play.charts import SERIES
from service.console.words import count, moment, number, signed_percent, span

Look = Mapping[str, Any]

_WIDE, _HIGH, _LEFT, _TOP, _BOTTOM = 480.0, 200.0, 46.0, 6.0, 18.0
_MOST_DOTS = 60


def intervals(looks: Sequence[Look], metric: str, arms: Sequence[str], since_ms: int) -> Markup:
    """One metric: a line for each arm but the control, and a band around it.

    The axis holds what the later half of the looks says; what is wider at first is cut off.

    Args:
        looks: of one comparison, the oldest first.
        metric: that is drawn.
        arms: in their order, the control first.
        since_ms: when the comparison began, Unix time.
    """
    seen = {arm: _known(looks, metric, arm) for arm in arms[1:]}
    seen = {arm: points for arm, points in seen.items() if points}
    if not seen:
        return Markup('<p class="empty">Of {} nothing is known yet.</p>').format(metric)
    low, high = _extent(list(seen.values()))
    last_ms = max(points[-1][0] for points in seen.values())
    across = (_WIDE - _LEFT - 4.0) / max(last_ms - since_ms, 1)

    def x(time_ms: float) -> float:
        return _LEFT + across * (time_ms - since_ms)

    def y(value: float) -> float:
        share = (min(max(value, low), high) - low) / (high - low)
        return _TOP + (_HIGH - _BOTTOM - _TOP) * (1.0 - share)

    drawn = _axes(low, high, y, (last_ms - since_ms) / 1000.0)
    for arm, points in seen.items():
        colour = f"s{arms.index(arm) % SERIES}"
        upper = [f"{x(at):.1f},{y(top):.1f}" for at, _, _, top in points]
        lower = [f"{x(at):.1f},{y(bottom):.1f}" for at, _, bottom, _ in points[::-1]]
        drawn.append(Markup('<polygon class="band {}" points="{}"/>').format(colour, " ".join(upper + lower)))
        line = " ".join(f"{x(at):.1f},{y(value):.1f}" for at, value, _, _ in points)
        drawn.append(Markup('<polyline class="middle {}" points="{}"/>').format(colour, line))
        for at, value, bottom, top in points[:: max(1, math.ceil(len(points) / _MOST_DOTS))]:
            says = f"{arm} at {moment(at)}: {signed_percent(value, 2)}, {ends(bottom, top)}"
            drawn.append(
                Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="3"><title>{}</title></circle>').format(
                    colour, x(at), y(value), says
                )
            )
    return Markup('<svg class="looks" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>{}').format(
        _WIDE, _HIGH, _spoken(metric, seen), Markup("").join(drawn), _legend(arms, seen)
    )


Points = list[tuple[int, float, float, float]]
"""Unix time in milliseconds, difference, and the ends of its interval."""


def _known(looks: Sequence[Look], metric: str, arm: str) -> Points:
    found = []
    for look in looks:
        one = look["metrics"].get(metric, {}).get(arm) or {}
        numbers = [one.get(name) for name in ("difference", "low", "high")]
        if all(isinstance(value, int | float) and math.isfinite(value) for value in numbers):
            found.append((int(look["time_ms"]), *map(float, numbers)))  # type: ignore[arg-type]
    return found  # type: ignore[return-value]


def _extent(seen: Sequence[Points]) -> tuple[float, float]:
    later = [point for points in seen for point in points[len(points) // 2 :]]
    low = min(0.0, *(bottom for _, _, bottom, _ in later))
    high = max(0.0, *(top for _, _, _, top in later))
    room = 0.06 * (high - low) or 0.01
    return low - room, high + room


def _axes(low: float, high: float, y: Any, seconds: float) -> list[Markup]:
    """Lines at round differences, and the time that has passed."""
    step = _round_step((high - low) / 6.0)
    tick = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    drawn = []
    for place in range(math.ceil(low / step), math.floor(high / step) + 1):
        at = y(place * step)
        kind = "grid" if place else "none"
        drawn.append(
            Markup('<line class="{}" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>').format(
                kind, _LEFT, _WIDE, at, at
            )
        )
        shown = f"{number(100.0 * place * step)} %" if place <= 0 else f"+{number(100.0 * place * step)} %"
        drawn.append(tick.format(_LEFT - 6.0, at + 4.0, "end", shown))
    drawn.append(tick.format(_LEFT, _HIGH - 5.0, "start", "the start"))
    drawn.append(tick.format(_WIDE - 2.0, _HIGH - 5.0, "end", f"{span(max(seconds, 1.0))} after it"))
    return drawn


def _round_step(step: float) -> float:
    """1, 2 or 5 times a power of ten, at least so much."""
    power = 10.0 ** math.floor(math.log10(step))
    return next((power * times for times in (1.0, 2.0, 5.0) if power * times >= step), 10.0 * power)


def _spoken(metric: str, seen: Mapping[str, Points]) -> str:
    parts = [
        f"{arm} {signed_percent(points[-1][1], 2)}, {ends(points[-1][2], points[-1][3])}, "
        f"after {count(len(points), 'look')}"
        for arm, points in seen.items()
    ]
    return f"Difference of {metric} to the control; at last {'; '.join(parts)}"


def _legend(arms: Sequence[str], seen: Mapping[str, Points]) -> Markup:
    return Markup('<ul class="legend">{}</ul>').format(
        Markup("").join(
            Markup('<li><span class="swatch s{}"></span>{}</li>').format(arms.index(arm) % SERIES, arm)
            for arm in seen
        )
    )
