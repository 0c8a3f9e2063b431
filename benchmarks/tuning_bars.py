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
FORMS = {
    "weights": ("log_power", 0.9, None),
    "smoothing": ("log_power", 0.75, 0.200),
    "weighted_sum": ("weighted_sum", 0.9, 0.178),
}
"""What is searched for: its formula, the least share of the best gain, the most regret."""
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
    for kind in ("near", "three", "far", "tuned"):
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


def of_searches(found: Sequence[Line]) -> Iterator[Row]:
    """Of what methods found from logs by the demo's default weights."""
    for name, (formula, least, most_regret) in FORMS.items():
        gains = [(_gain_of(line, name, formula), line["best"][name]) for line in found]
        part = sum(gain for gain, _ in gains) / sum(best for _, best in gains)
        mean_gain, mean_best = np.mean(gains, axis=0).tolist()
        text = f"{part:.1%}: {mean_gain:+.2%} of {mean_best:+.2%}"
        yield Row(f"tune, {name}: share of the best gain", text, f"{least:.0%} or more", part >= least)
        if most_regret is not None:
            regrets = [
                1.0 - (1.0 - line["regret_of_default"]) * (1.0 + gain)
                for line, (gain, _) in zip(found, gains, strict=True)
            ]
            middle, kept = float(np.median(regrets)), float(np.median(regrets)) <= most_regret
            yield Row(f"tune, {name}: median regret", f"{middle:.3f}", f"at most {most_regret}", kept)
    for key in sorted({(one["method"], one["formula"]) for line in found for one in line["found"]}):
        gains = [o["gain"] for line in found for o in line["found"] if (o["method"], o["formula"]) == key]
        yield mean(f"tune, {key[0]} ({key[1]}): true gain", gains)
    yield mean("tune, what is chosen: true gain", [line["truth"] for line in found])
    yield mean("tune, its forecast less the truth", [line["forecast"] - line["truth"] for line in found])


def of_forecasts(found: Sequence[Line]) -> Iterator[Row]:
    """Of all verdicts whose truth is known."""
    held = [line["interval"][0] <= line["truth"] <= line["interval"][1] for line in found]
    yield share("tune: the forecast's interval holds the truth", sum(held), len(held), 185 / 200)


def of_verdicts(kind: str, found: Sequence[Line]) -> Row:
    """Of verdicts of one kind."""
    better = [line["verdict"] == "better" for line in found]
    if kind in ("placebo", "optimum"):  # what truly beats a searched optimum is no false alarm
        wrong = [
            one and (kind == "placebo" or line["truth"] <= 0.0)
            for one, line in zip(better, found, strict=True)
        ]
        name = f"tune, {kind}: no false better"
        return share(name, len(wrong) - sum(wrong), len(wrong), 185 / 200)
    name = kind if kind == "far" else f"{float(kind):.1%} to be gained"
    return share(f"tune, {name}: better", sum(better), len(better), 0.95 if kind == "far" else 0.0)


def of_families(found: Sequence[Line]) -> Iterator[Row]:
    """Of choices between a sum and a product."""
    yield share("tune: the right family", sum(line["right"] for line in found), len(found), 18 / 20)


def of_learned(found: Sequence[Line]) -> Iterator[Row]:
    """Of networks of trees."""
    raises, lowered = (sum(line[name] for line in found) for name in ("raises", "lowered"))
    yield share("learned fusion: raises that lower nothing", raises - lowered, raises, 1.0)
    slowest = max(line["ms_of_500"] for line in found)
    yield Row("learned fusion: 500 candidates", f"{slowest:.2f} ms at most", "1 ms", slowest <= 1.0)


def _gain_of(line: Line, name: str, formula: str) -> float:
    """The true gain of the formula's best by the reward model, or of weights alone."""
    alone = [one for one in line["found"] if one["method"].endswith("weights alone")]
    some = [one for one in line["found"] if one["formula"] == formula and one not in alone]
    return float(max(alone if name == "weights" else some, key=lambda one: one["value"])["gain"])


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
