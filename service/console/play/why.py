"""Why one item is above another, in words and numbers. Works on explained items, knows no page.

Each item's terms sum to what the order goes by, so the difference of two items is the sum of the terms'
differences: what is said here leaves nothing out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from service.console.play.impact import table
from service.console.words import decimals, fixed, number, signed


def name_of(item: Mapping[str, Any]) -> str:
    """Its id, or its number among the request's candidates where ids are withheld."""
    return str(item["id"]) if item.get("id") is not None else f"candidate {item['candidate']}"


def terms_of(item: Mapping[str, Any]) -> dict[str, float]:
    """Its terms by name; none where it has no score."""
    return {name: float(one["term"]) for name, one in (item.get("terms") or {}).items()}


def why(one: Mapping[str, Any], other: Mapping[str, Any], under: str) -> Markup:
    """Why `one` is above `other`, or below, under a config; the terms with the largest differences first.

    Args:
        one, other: explained items of one request.
        under: the config, in words: `the edited config`.
    """
    mine, its = terms_of(one), terms_of(other)
    if not mine or not its:
        return Markup("<p>{}</p>").format(
            f"{name_of(other if mine else one)} has no score: what has none comes after all others."
        )
    gaps = {name: mine[name] - its.get(name, 0.0) for name in mine}
    total = sum(gaps.values())
    digits = decimals(max(abs(gap) for gap in [*gaps.values(), total]))
    above = total > 0.0 or (total == 0.0 and one["rank"] < other["rank"])
    says = Markup("Under {}, <bdi>{}</bdi> is {} <bdi>{}</bdi> by {}: {}.").format(
        under,
        name_of(one),
        "above" if above else "below",
        name_of(other),
        number(abs(total)),
        _sentence(gaps, total, digits),
    )
    rows = [
        (
            name,
            _of(one["terms"][name], one.get("log_score") is not None),
            fixed(mine[name], digits),
            _of((other["terms"] or {}).get(name, {}), other.get("log_score") is not None),
            fixed(its.get(name, 0.0), digits),
            signed(gap, digits),
        )
        for name, gap in sorted(gaps.items(), key=lambda pair: -abs(pair[1]))
    ]
    sums = [fixed(sum(terms.values()), digits) for terms in (mine, its)]
    rows.append(("together", "", sums[0], "", sums[1], signed(total, digits)))
    names = [Markup("<bdi>{}</bdi>").format(name_of(item)) for item in (one, other)]
    headers = ("term", names[0], "its term", names[1], "its term", "difference")
    return Markup("<p>{}</p>{}").format(says, table(f"Terms under {under}", headers, rows, hidden=True))


def _sentence(gaps: Mapping[str, float], total: float, digits: int) -> str:
    """What speaks for the order, and what against it."""
    way = 1.0 if total >= 0.0 else -1.0
    ordered = sorted(gaps.items(), key=lambda pair: -abs(pair[1]))
    parts = (
        [f"{name} {signed(gap, digits)}" for name, gap in ordered if gap * way > 0.0],
        [f"{name} {signed(gap, digits)}" for name, gap in ordered if gap * way < 0.0],
    )
    if not parts[0]:
        return "no term tells them apart, and the first given stays first"
    if not parts[1]:
        return f"{', '.join(parts[0])}, and nothing speaks against it"
    return f"{', '.join(parts[0])} outweigh{'s' if len(parts[0]) == 1 else ''} {', '.join(parts[1])}"


def _of(term: Mapping[str, Any], in_logs: bool) -> str:
    """What a term is made of: `log(p 0.31 + smoothing) x 0.4`, or `p 0.31 x 0.4`.

    Where it is neither, it says what goes in: `p 0.31, weight 0.4`.
    """
    if "p" in term:
        value = term["p"] if term.get("calibrated") is None else term["calibrated"]
        raw = "" if value is term["p"] else f" as {number(value)}"
        shown, inner = f"p {number(term['p'])}{raw}", " + smoothing"
    elif "f" in term:
        value, seconds = term["f"], term.get("video_len")
        length = "length unknown" if seconds is None else f"{number(seconds)} s"
        shown, inner = f"f({length}) {number(value)}", ""
    else:
        return ""
    weight = number(term["weight"])
    if in_logs:
        return f"log({shown}{inner}) \N{MULTIPLICATION SIGN} {weight}"
    if math.isclose(term["term"], value * term["weight"], rel_tol=1e-6, abs_tol=1e-12):
        return f"{shown} \N{MULTIPLICATION SIGN} {weight}"
    return f"{shown}, weight {weight}"
