"""Verdicts: what an experiment says at a look: better, worse, inconclusive, or nothing yet.

One metric is declared as primary, and it alone makes an arm better. Guardrails make it worse. The others are
reported, each with an interval of its own that holds at every look, but they are many and decide nothing.
Reads no log and changes nothing. Shapes: A arms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from model.experiments import Guardrail, Terms, Verdict
from training.experiments.differences import ArmSums, difference
from training.experiments.guardrails import Harmed, by_counts, by_mean
from training.experiments.sample_ratio import SampleRatio, expected_text, sample_ratio


@dataclass(frozen=True, eq=False)
class Look:
    """What is known at a look.

    Attributes:
        days: since the start, of which the feedback has come.
        shares: by arm, of units; the control first.
        metrics: by name and arm, of these days.
        units: by arm, so far [A].
        units_by_scene: those seen in a scene, by arm [A].
        crossed: units that were seen in several arms.
        counts: by guardrail's metric and arm: events that no unit has, such as errors.
        so_far: as `metrics`, of all that has come so far, which guardrails go by: what has not come yet has
            not in any arm. `metrics` where there is nothing else.
        over: whether nothing more will come.
        failed: why metrics cannot be evaluated, by name: they are in neither.
    """

    days: float
    shares: Mapping[str, float]
    metrics: Mapping[str, Mapping[str, ArmSums]]
    units: Sequence[int]
    units_by_scene: Mapping[str, Sequence[int]] = field(default_factory=dict)
    crossed: int = 0
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    so_far: Mapping[str, Mapping[str, ArmSums]] = field(default_factory=dict)
    over: bool = False
    failed: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Judged:
    """What is said of an arm.

    Attributes:
        verdict: None while it has not come to one.
        why: in a sentence.
        differences: by metric: relative difference to the control, and ends of its confidence sequence.
        harmed: by guardrail's metric.
        sample_ratio: of all arms.
        crossed: units that were seen in several arms.
    """

    verdict: Verdict | None
    why: str
    differences: Mapping[str, tuple[float, float, float]]
    harmed: Mapping[str, Harmed]
    sample_ratio: SampleRatio
    crossed: int


def judge(terms: Terms, look: Look) -> dict[str, Judged]:
    """What is said of each arm but the control."""
    control, *others = look.shares
    ratio = sample_ratio(
        look.units, look.units_by_scene, list(look.shares.values()), terms.sample_ratio_alpha
    )
    alpha = terms.alpha / len(others)
    found = {}
    for arm in others:
        differences = {name: difference(arms[control], arms[arm]) for name, arms in look.metrics.items()}
        harmed = {
            one.metric: _harmed(one, terms, look, control, arm)
            for one in terms.guardrails
            if one.metric in look.counts or one.metric not in look.failed
        }
        ends = {
            name: (of.relative, *of.interval(terms.planned_error, alpha)) for name, of in differences.items()
        }
        verdict, why = _verdict(terms, look, ratio, ends.get(terms.primary), harmed)
        found[arm] = Judged(verdict, why, ends, harmed, ratio, look.crossed)
    return found


def _harmed(one: Guardrail, terms: Terms, look: Look, control: str, arm: str) -> Harmed:
    counts, metrics = look.counts.get(one.metric), look.so_far or look.metrics
    if counts is None and one.test == "mean":
        found = difference(*(metrics[one.metric][name] for name in (control, arm)))
        return by_mean(found, terms.planned_error, one.harm, margin=one.margin, alpha=one.alpha)
    if counts is None:
        counts = {
            name: int(np.count_nonzero(metrics[one.metric][name].value > 0.0)) for name in (control, arm)
        }
    share = look.shares[arm] / (look.shares[arm] + look.shares[control])
    return by_counts(counts[control], counts[arm], share, one.harm, margin=one.margin, alpha=one.alpha)


def _verdict(
    terms: Terms,
    look: Look,
    ratio: SampleRatio,
    primary: tuple[float, float, float] | None,
    harmed: Mapping[str, Harmed],
) -> tuple[Verdict | None, str]:
    units = sum(look.units) + look.crossed
    for metric, one in harmed.items():
        if one.alarm:
            return "worse", f"guardrail {metric}: {one.ratio:.3g} times the control's"
    if primary is None:
        return (
            None,
            f"{terms.primary} cannot be evaluated: {look.failed.get(terms.primary, 'it is not there')}",
        )
    if look.crossed > terms.most_crossed * units:
        return "inconclusive", f"{look.crossed:,} of {units:,} units were seen in several arms"
    if ratio.alarm:
        expected = ", ".join(expected_text(count) for count in ratio.expected)
        counts = ", ".join(f"{count:,}" for count in ratio.counts)
        return "inconclusive", f"{ratio.scene}: arms have {counts} units; expected {expected}"
    what, low, high = primary
    said = f"{terms.primary} {what:+.2%} [{low:+.2%}, {high:+.2%}]"
    if math.isnan(what):
        said = f"{terms.primary}: not known yet"
    if low > 0.0 or high < 0.0:
        return ("better" if low > 0.0 else "worse"), said
    if look.days >= terms.days:
        return "inconclusive", f"{said} after the {terms.days:g} days that were planned"
    if look.over:
        return "inconclusive", f"{said} when its time was over, after {look.days:.3g} of {terms.days:g} days"
    return None, said
