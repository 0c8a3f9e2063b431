"""Pictures as SVG: the terms of a score, and f(video_len) over how long videos are. Knows no page.

Colours are classes of console.css, so that they follow light and dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from markupsafe import Markup

from model.errors import FulcrumError, checked
from model.frozen import Frozen
from model.fusion import duration_factor
from model.fusion.lengths import Floats, LengthKind
from service.console.words import number, percent, signed

SERIES = 12
"""Colours of terms: s0 to s11; more begin anew."""

_BEND_S = 10.0
_WIDE, _HIGH, _LEFT, _TOP, _BOTTOM = 380.0, 150.0, 30.0, 6.0, 18.0


class _OfScene(Frozen):
    video_len: LengthKind


def stacked(
    terms: Mapping[str, float], low: float, high: float, colours: Mapping[str, int], digits: int = 3
) -> Markup:
    """One item's terms: those above 0 to the right, those below to the left, and a mark at their sum.

    Args:
        terms: by name.
        low, high: ends of the axis, in common with other items.
        colours: by name, from 0.
        digits: decimals of the numbers that are said.
    """
    scale = 100.0 / max(high - low, 1e-12)
    parts, up, down = [], 0.0, 0.0
    for name, term in terms.items():
        start = up if term >= 0.0 else down + term
        up, down = (up + term, down) if term >= 0.0 else (up, down + term)
        parts.append(
            Markup(
                '<rect class="s{}" x="{:.3f}" y="1" width="{:.3f}" height="12"><title>{} {}</title></rect>'
            ).format(
                colours[name] % SERIES, (start - low) * scale, abs(term) * scale, name, signed(term, digits)
            )
        )
    total = sum(terms.values())
    words = ", ".join(f"{name} {signed(term, digits)}" for name, term in terms.items())
    at = (total - low) * scale
    return Markup(
        '<svg class="stack" viewBox="0 0 100 14" preserveAspectRatio="none" role="img" '
        'aria-label="{}, together {}">{}<rect class="zero" x="{:.3f}" y="0" width="0.25" height="14"/>'
        '<rect class="sum" x="{:.3f}" y="0" width="0.6" height="14"><title>together {}</title></rect></svg>'
    ).format(
        words,
        signed(total, digits),
        Markup("").join(parts),
        -low * scale,
        min(max(at - 0.3, 0.0), 99.4),
        signed(total, digits),
    )


def extent(items: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """An axis that holds the terms of all items, 0 included."""
    low = min((sum(min(term, 0.0) for term in terms.values()) for terms in items), default=0.0)
    high = max((sum(max(term, 0.0) for term in terms.values()) for terms in items), default=0.0)
    return low, high if high > low else low + 1.0


def lengths(bins: Sequence[Mapping[str, Any]], before: Mapping[str, Any], after: Mapping[str, Any]) -> Markup:
    """f of both configs over the histogram of candidates' lengths.

    Args:
        bins: `{from_s, to_s, candidates}`, in order; what is longer than the last begins has `to_s` null.
        before, after: `video_len` of the scene.
    """
    known = [one for one in bins if one.get("from_s") is not None]
    if not known:
        known = [{"from_s": s, "to_s": e, "candidates": 0} for s, e in ((0, 15), (15, 60), (60, 300))]
    edges = [float(one["from_s"]) for one in known]
    last = known[-1].get("to_s")
    edges.append(max(2.0 * edges[-1], 1.0) if last is None else float(last))
    right = _bent(edges[-1])
    bent = np.linspace(0.0, right, 121)
    seconds = np.expm1(bent) * _BEND_S
    curves = [_curve(document, seconds) for document in (before, after)]
    top = max([1.0, *(float(curve.max()) for curve in curves if curve is not None)])
    x = [_LEFT + (_WIDE - _LEFT) * _bent(edge) / right for edge in edges]
    drawn = [*_bars(known, x), *_axes(edges, x, top)]
    for name, curve in zip(("before", "after"), curves, strict=True):
        if curve is not None:
            places = zip(_LEFT + (_WIDE - _LEFT) * bent / right, _y(curve / top), strict=True)
            points = " ".join(f"{across:.1f},{up:.1f}" for across, up in places)
            drawn.append(Markup('<polyline class="curve {}" points="{}"/>').format(name, points))
    return Markup(
        '<svg class="lengths" viewBox="0 0 {} {}" role="img" aria-label="f of the length, active and edited, '
        'over the lengths of candidates; {}">{}</svg>'
    ).format(_WIDE, _HIGH, _spoken(before, after), Markup("").join(drawn))


def _bars(known: Sequence[Mapping[str, Any]], x: Sequence[float]) -> list[Markup]:
    """The histogram: the tallest bar is as high as there is room."""
    counts = np.array([float(one["candidates"] or 0.0) for one in known])
    shares, heights = counts / (counts.sum() or 1.0), counts / (counts.max() or 1.0)
    bar = Markup(
        '<rect class="bin" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}">'
        "<title>{}: {} of candidates</title></rect>"
    )
    return [
        bar.format(
            left + 0.5,
            _y(height),
            max(right - left - 1.0, 0.5),
            _y(0.0) - _y(height),
            bin_name(one),
            percent(share),
        )
        for one, share, height, (left, right) in zip(known, shares, heights, pairwise(x), strict=True)
    ]


def _axes(edges: Sequence[float], x: Sequence[float], top: float) -> list[Markup]:
    tick = Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>')
    line = Markup('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>')
    last = len(edges) - 1
    drawn = [
        tick.format(
            across, _HIGH - 4.0, "end" if index == last else "middle" if index else "start", _seconds(edge)
        )
        for index, (edge, across) in enumerate(zip(edges, x, strict=True))
        if index in (0, last) or x[last] - across > 56.0
    ]
    for share in (0.0, 0.5, 1.0):
        drawn.append(tick.format(_LEFT - 4.0, _y(share) + 4.0, "end", number(share * top, 2)))
        drawn.append(line.format(_LEFT, _WIDE, _y(share), _y(share)))
    return drawn


def _bent(seconds: float) -> float:
    """Seconds on the axis: short lengths have as much room as long ones."""
    return float(np.log1p(seconds / _BEND_S))


def _y(share: Any) -> Any:
    """Where a share of the highest value is."""
    return _TOP + (_HIGH - _BOTTOM - _TOP) * (1.0 - share)


def bin_name(one: Mapping[str, Any]) -> str:
    """`7 to 15 s`, `300 s and more`, `unknown`."""
    if one.get("from_s") is None:
        return "unknown"
    if one.get("to_s") is None:
        return f"{one['from_s']:g} s and more"
    return f"{one['from_s']:g} to {one['to_s']:g} s"


def _curve(video_len: Mapping[str, Any], seconds: Floats) -> Floats | None:
    try:
        factor = checked(_OfScene, {"video_len": dict(video_len)}).video_len
    except FulcrumError:  # on the way to another value
        return None
    return duration_factor(factor, seconds)


def _seconds(edge: float) -> str:
    return f"{edge:g} s" if edge < 120 or edge % 60 else f"{edge / 60:g} min"


def _spoken(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    at = np.array([5.0, 30.0, 120.0])
    curves = [_curve(document, at) for document in (before, after)]
    parts = []
    for index, seconds in enumerate(at):
        values = ["not drawn" if curve is None else number(float(curve[index]), 2) for curve in curves]
        parts.append(f"at {seconds:g} s {values[0]} and {values[1]}")
    return ", ".join(parts)
