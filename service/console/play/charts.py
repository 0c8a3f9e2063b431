"""Pictures as SVG: the terms of a score, and f(video_len) over how long videos are. Knows no page.

Colours are classes of console.css, so that they follow light and dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from model.errors import FulcrumError, checked
from model.frozen import Frozen
from model.fusion import duration_factor
from model.fusion.lengths import LengthKind
from service.console.words import number, percent, signed

SERIES = 12
"""Colours of terms: s0 to s11; more begin anew."""

_WIDE, _HIGH, _LEFT, _BOTTOM = 380.0, 150.0, 30.0, 18.0


class _OfScene(Frozen):
    video_len: LengthKind


def stacked(terms: Mapping[str, float], low: float, high: float, colours: Mapping[str, int]) -> Markup:
    """One item's terms: those above 0 to the right, those below to the left, and a mark at their sum.

    Args:
        terms: by name.
        low, high: ends of the axis, in common with other items.
        colours: by name, from 0.
    """
    scale = 100.0 / max(high - low, 1e-12)
    parts, up, down = [], 0.0, 0.0
    for name, term in terms.items():
        start = up if term >= 0.0 else down + term
        up, down = (up + term, down) if term >= 0.0 else (up, down + term)
        parts.append(
            Markup(
                '<rect class="s{}" x="{:.3f}" y="1" width="{:.3f}" height="12"><title>{} {}</title></rect>'
            ).format(colours[name] % SERIES, (start - low) * scale, abs(term) * scale, name, signed(term))
        )
    total = sum(terms.values())
    words = ", ".join(f"{name} {signed(term)}" for name, term in terms.items())
    at = (total - low) * scale
    return Markup(
        '<svg class="stack" viewBox="0 0 100 14" preserveAspectRatio="none" role="img" '
        'aria-label="{}, together {}">{}<rect class="zero" x="{:.3f}" y="0" width="0.25" height="14"/>'
        '<rect class="sum" x="{:.3f}" y="0" width="0.6" height="14"><title>together {}</title></rect></svg>'
    ).format(
        words,
        signed(total),
        Markup("").join(parts),
        -low * scale,
        min(max(at - 0.3, 0.0), 99.4),
        signed(total),
    )


def extent(items: Sequence[Mapping[str, float]]) -> tuple[float, float]:
    """An axis that holds the terms of all items, 0 included."""
    low = min((sum(min(term, 0.0) for term in terms.values()) for terms in items), default=0.0)
    high = max((sum(max(term, 0.0) for term in terms.values()) for terms in items), default=0.0)
    return low, high if high > low else low + 1.0


def lengths(bins: Sequence[Mapping[str, Any]], before: Mapping[str, Any], after: Mapping[str, Any]) -> Markup:
    """f of both configs over the histogram of candidates' lengths; bins are drawn equally wide.

    Args:
        bins: `{from_s, to_s, candidates}`, in order; what is longer than the last begins has `to_s` null.
        before, after: `video_len` of the scene.
    """
    known = [one for one in bins if one.get("from_s") is not None]
    if not known:
        known = [{"from_s": s, "to_s": e, "candidates": 0} for s, e in ((0, 15), (15, 60), (60, 300))]
    edges = [float(one["from_s"]) for one in known]
    last = known[-1]
    edges.append(float(last["to_s"]) if last.get("to_s") is not None else max(2.0 * edges[-1], 1.0))
    within = np.linspace(0.0, 1.0, 9)[:-1]
    seconds = np.concatenate(
        [low + (high - low) * within for low, high in zip(edges, edges[1:], strict=False)] + [edges[-1:]]
    )
    places = np.append(np.concatenate([index + within for index in range(len(known))]), len(known))
    curves = [_curve(document, seconds) for document in (before, after)]
    top = max([1.0, *(float(curve.max()) for curve in curves if curve is not None)])
    wide, high = (_WIDE - _LEFT) / len(known), _HIGH - _BOTTOM - 6.0
    tallest = max([one["candidates"] or 0 for one in known] + [1e-12])
    total = sum(one["candidates"] or 0 for one in known) or 1.0

    def y(f: float) -> float:
        return 6.0 + high * (1.0 - f / top)

    drawn = [
        Markup(
            '<rect class="bin" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"><title>{}: {} of candidates</title></rect>'
        ).format(
            _LEFT + index * wide + 1,
            6.0 + high * (1.0 - (one["candidates"] or 0) / tallest),
            max(wide - 2, 0.5),
            high * (one["candidates"] or 0) / tallest,
            bin_name(one),
            percent((one["candidates"] or 0) / total),
        )
        for index, one in enumerate(known)
    ]
    for name, curve in zip(("before", "after"), curves, strict=True):
        if curve is not None:
            points = " ".join(
                f"{_LEFT + place * wide:.1f},{y(float(f)):.1f}"
                for place, f in zip(places, curve, strict=True)
            )
            drawn.append(Markup('<polyline class="curve {}" points="{}"/>').format(name, points))
    step = max(1, -(-len(known) // 7))
    drawn += [
        Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
            _LEFT + index * wide,
            _HIGH - 4.0,
            "end" if index == len(known) else "middle" if index else "start",
            _seconds(edge),
        )
        for index, edge in enumerate(edges)
        if index % step == 0
    ]
    drawn += [
        Markup(
            '<text x="{}" y="{:.1f}" text-anchor="end">{}</text><line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>'
        ).format(_LEFT - 4, y(f) + 4, number(f, 2), _LEFT, _WIDE, y(f), y(f))
        for f in (0.0, top / 2.0, top)
    ]
    return Markup(
        '<svg class="lengths" viewBox="0 0 {} {}" role="img" aria-label="f of the length, active and edited, '
        'over the lengths of candidates; {}">{}</svg>'
    ).format(_WIDE, _HIGH, _spoken(known, curves, seconds), Markup("").join(drawn))


def bin_name(one: Mapping[str, Any]) -> str:
    """`7 to 15 s`, `300 s and more`, `unknown`."""
    if one.get("from_s") is None:
        return "unknown"
    if one.get("to_s") is None:
        return f"{one['from_s']:g} s and more"
    return f"{one['from_s']:g} to {one['to_s']:g} s"


def _curve(video_len: Mapping[str, Any], seconds: np.ndarray[Any, np.dtype[np.float64]]) -> Any:
    try:
        factor = checked(_OfScene, {"video_len": dict(video_len)}).video_len
    except FulcrumError:  # on the way to another value
        return None
    return duration_factor(factor, seconds)


def _seconds(edge: float) -> str:
    return f"{edge:g} s" if edge < 120 or edge % 60 else f"{edge / 60:g} min"


def _spoken(known: Sequence[Mapping[str, Any]], curves: Sequence[Any], seconds: Any) -> str:
    parts = []
    for one in known[:: max(1, len(known) // 4)]:
        at = int(np.searchsorted(seconds, float(one["from_s"])))
        values = [number(float(curve[at]), 2) if curve is not None else "not drawn" for curve in curves]
        parts.append(f"at {one['from_s']:g} s {values[0]} and {values[1]}")
    return ", ".join(parts)
