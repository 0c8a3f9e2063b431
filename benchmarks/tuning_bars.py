"""Bounds of tuning and estimating, and what was measured beside them. Measures nothing.

A share misses its bound where its interval (Wilson 1927) lies outside it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

KINDS = {
    "near": "within 1 sd",
    "far": "within 10 sds",
    "three": "at 3 sds",
    "tuned": "tuned on that log",
    "another formula": "another formula",
}
"""Of targets of an estimate."""
LEAST_ANSWERED = {"near": 0.95, "far": 0.8}
MOST_WIDE = 1.6
"""Half-widths of the plain mean's, as if requests were independent."""
Line = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """What was found, and whether it keeps its bound."""

    what: str
    found: str
    bound: str
    kept: bool = True


def of_estimates(found: Sequence[Line]) -> Iterator[Row]:
    """Of logs' differences."""
    targets = [{**target, "plain": line["plain_half"]} for line in found for target in line["targets"]]
    by_kind = {kind: [one for one in targets if one["kind"] == kind] for kind in KINDS}
    for kind in ("near", "far", "tuned"):
        some, name = by_kind[kind], f"estimate, {KINDS[kind]}"
        answered = [one for one in some if not one["refused"]]
        if not answered:
            continue
        held = sum(one["interval"][0] <= one["truth"] <= one["interval"][1] for one in answered)
        yield share(f"{name}: the interval holds the truth", held, len(answered), 0.935, 0.965)
        if kind in LEAST_ANSWERED:
            yield share(f"{name}: answered", len(answered), len(some), LEAST_ANSWERED[kind])
        wide = [(one["interval"][1] - one["interval"][0]) / 2.0 / one["plain"] for one in answered]
        middle, most = np.quantile(wide, [0.5, 0.95]).tolist()
        text = f"{middle:.2f} in the median, {most:.2f} in the 95th percentile"
        yield Row(
            f"{name}: half-width by the plain mean's", text, f"at most {MOST_WIDE}", middle <= MOST_WIDE
        )
        yield mean(f"{name}: mean error", [one["difference"] - one["truth"] for one in answered])
    for kind, what in (("another formula", "refused"), ("three", "weight space alone silent")):
        some = by_kind[kind]
        silent = [
            one["refused"] if kind != "three" else one["methods"]["weight_space"][0] is None for one in some
        ]
        yield share(f"estimate, {KINDS[kind]}: {what}", sum(silent), len(some), 1.0)


def share(what: str, hits: int, of: int, least: float, most: float = 1.0) -> Row:
    """A share with its interval, between bounds."""
    bound = f"{least:.1%} or more" if most == 1.0 else f"{least:.1%} to {most:.1%}"
    if not of:
        return Row(what, "nothing measured", bound, kept=False)
    p, z = hits / of, 1.96
    middle, half = p + z * z / 2 / of, z * math.sqrt(p * (1 - p) / of + z * z / 4 / of**2)
    low, high = ((middle + side * half) / (1 + z * z / of) for side in (-1.0, 1.0))
    kept = hits == of if least == 1.0 else high >= least and low <= most
    return Row(what, f"{hits:,} of {of:,}: {p:.1%} [{low:.1%}, {high:.1%}]", bound, kept)


def mean(what: str, values: Sequence[float], bound: str = "") -> Row:
    """A mean with its interval, without a bound."""
    half = 1.96 * float(np.std(values)) / math.sqrt(len(values))
    return Row(what, f"{np.mean(values):+.2%} +- {half:.2%}", bound)
