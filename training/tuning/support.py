"""Support: how far a log can speak for a config that did not rank it. Knows configs, no candidates.

A replay shows orders for certain and outcomes by predictions alone. What was never shown, or was shown by
another formula, no log can tell; weights can be told as far as exploring disturbed them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from model.fusion import FusionConfig
from model.fusion.scene import VIDEO_LEN

MOST_NEVER_SHOWN = 0.05
"""Share of places with items that the log never showed, above which it cannot speak."""
FEW_CANDIDATES = 0.01
FAR = 3.0
"""Standard deviations of exploring: n exp(-9) requests are left of n."""


@dataclass(frozen=True)
class Verdict:
    """One thing about a log and a config.

    Attributes:
        kind: `formula`, `candidates`, `never_shown`, `shift`, `conditions`.
        outside: whether the config is out of the log's support in this.
        text: a sentence.
        figures: its numbers.
    """

    kind: Literal["formula", "candidates", "never_shown", "shift", "conditions"]
    outside: bool
    text: str
    figures: Mapping[str, Any]

    def report(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def verdicts(
    after: FusionConfig,
    logged: Sequence[FusionConfig],
    scenes: Sequence[str],
    *,
    requests: int,
    exposures: int,
    never_shown: float,
    top: int,
    said: set[str],
) -> Iterator[Verdict]:
    """What a log says of a config.

    Args:
        after: the config.
        logged: those that ranked.
        scenes: that requests were of.
        requests, exposures: replayed, and logged.
        never_shown: share of its first `top` places with items that were never among the first `top`.
        top: places.
        said: names of what is logged of requests.
    """
    yield from _formulas(after, logged, scenes)
    share = requests / max(exposures, 1)
    yield Verdict(
        "candidates",
        False,
        f"{share:.1%} of {exposures:,} logged requests hold all their candidates and are replayed"
        + ("; with so few, rare cases are missing" if share < FEW_CANDIDATES else ""),
        {"share": share},
    )
    yield Verdict(
        "never_shown",
        never_shown > MOST_NEVER_SHOWN,
        f"{never_shown:.1%} of its first {top} places hold items that the log never showed there",
        {"share": never_shown, "most": MOST_NEVER_SHOWN},
    )
    for name in scenes:
        missing = sorted(after.scene(name)[0].names_of_conditions() - said)
        if missing:
            yield Verdict(
                "conditions",
                True,
                f"scene {name}: its conditions look at {', '.join(missing)}, which is not logged: "
                "such conditions hold nowhere here",
                {"scene": name, "missing": missing},
            )
    yield from _shifts(after, logged, scenes)


def _formulas(
    after: FusionConfig, logged: Sequence[FusionConfig], scenes: Sequence[str]
) -> Iterator[Verdict]:
    for name in scenes:
        formula = after.scene(name)[0].formula
        before = sorted({config.scene(name)[0].formula for config in logged})
        if before and formula not in before:
            yield Verdict(
                "formula",
                True,
                f"scene {name}: {formula} never ranked here, {', '.join(before)} did; its orders are "
                "certain, what viewers do with them takes an experiment",
                {"scene": name, "formula": formula, "logged": before},
            )


def _shifts(after: FusionConfig, logged: Sequence[FusionConfig], scenes: Sequence[str]) -> Iterator[Verdict]:
    """How far weights are from those that exploring disturbed, in its standard deviations."""
    for name in scenes:
        scene = after.scene(name)[0]
        explored = [config.scene(name)[0] for config in logged if config.scene(name)[0].explore is not None]
        if not explored:
            yield Verdict(
                "shift",
                False,
                f"scene {name}: the log disturbed no weights, so that it cannot say what other weights do",
                {"scene": name, "explored": False},
            )
            continue
        alike = [one for one in explored if one.formula == scene.formula]
        if not alike:
            continue  # the formula's verdict says it
        shifts = min((_shift(scene.parameters(), one) for one in alike), key=_length)
        length = _length(shifts)
        terms = ", ".join(f"{_term(term)} {z:+.1f}" for term, z in shifts.items() if z)
        far = f"{length:.1f}" if math.isfinite(length) else "infinitely many"
        yield Verdict(
            "shift",
            length >= FAR,
            f"scene {name}: {far} standard deviations of exploring away"
            + (f" ({terms})" if terms else "")
            + f"; of n explored requests, {math.exp(-min(length * length, 700.0)):.2g} n speak for it",
            {
                "scene": name,
                "explored": True,
                "length": length,
                "effective_share": math.exp(-min(length * length, 700.0)),
                "terms": shifts,
            },
        )


def _shift(weights: Mapping[str, float], logged: Any) -> dict[str, float]:
    """By term: z of these weights under a scene's noise law; infinite for a term that it never disturbed."""
    means = logged.parameters()
    deviations = logged.explore.deviations(np.array(list(means.values())), logged.least())
    found = {
        term: (weights.get(term, 0.0 if "." not in term else -math.inf) - mean) / deviation
        for (term, mean), deviation in zip(means.items(), deviations.tolist(), strict=True)
    }
    return found | {term: math.inf for term in weights if term not in means}


def _length(shifts: Mapping[str, float]) -> float:
    return math.sqrt(sum(z * z for z in shifts.values()))


def _term(name: str) -> str:
    if name == VIDEO_LEN:
        return "video_len"
    return name.replace("log_smoothing.", "smoothing of ")
