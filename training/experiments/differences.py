"""Differences: how much more of a metric one arm has than another, relatively, with its standard error.

A metric is a sum over a count: reward over requests, or over units where each counts as 1. The difference is
taken as that of logarithms, with the error of the delta method over units' sums, so that what units do again
and again is not mistaken for so many witnesses (Deng, Knoblich and Lu, KDD 2018, "Applying the delta method
in metric analytics"). What was known of units before they had an arm, such as the same sums of the weeks
before or what a reward model predicts, takes out the part of the noise that it explains (CUPED: Deng, Xu,
Kohavi and Walker, WSDM 2013).

Knows no looks and no verdicts. Shapes: U units of an arm, R requests.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from training.experiments.sequences import factor
from training.experiments.units import Floats, Ints

LEAST_UNITS = 100
"""Of each arm: with fewer, a normal distribution is not to be trusted, and there is no interval."""
Interval = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Covariate:
    """What was known of an arm's units: a sum over a count, like a metric; both 0 where nothing was.

    Attributes:
        value, count: of each unit [U].
    """

    value: Floats
    count: Floats


@dataclass(frozen=True, eq=False)
class ArmSums:
    """A metric of an arm's units.

    Attributes:
        value: sum of each unit [U].
        count: what it is divided by [U].
        known: of the same units, if anything is.
    """

    value: Floats
    count: Floats
    known: Covariate | None = None

    @property
    def mean(self) -> float:
        """The metric; NaN without a count."""
        count = float(self.count.sum())
        return float(self.value.sum()) / count if count > 0.0 else math.nan

    @property
    def influence(self) -> Floats:
        """By how much each unit moves the logarithm of the metric, times U; sums to 0 [U]."""
        return np.asarray((self.value / self.mean - self.count) / self.count.mean(), np.float64)


@dataclass(frozen=True)
class Difference:
    """Of logarithms of a metric: of an arm, less of the control.

    Attributes:
        log_ratio: NaN where a mean is not above 0, or units are too few.
        error: its standard error.
    """

    log_ratio: float
    error: float

    @property
    def relative(self) -> float:
        """As a fraction of the control's metric."""
        return math.expm1(self.log_ratio)

    def interval(self, planned: float, alpha: float, *, sides: int = 2) -> Interval:
        """Ends of the confidence sequence at this look, as fractions of the control's metric.

        Args:
            planned: standard error of the plan: see `sequences`.
            alpha: probability that the truth is ever outside, whatever the number of looks.
            sides: 1: the probability that it is ever below the lower end; and so for the upper one.
        """
        if math.isnan(self.log_ratio):
            return -1.0, math.inf
        half = self.error * factor(self.error, planned, alpha, sides=sides)
        low, high = self.log_ratio - half, self.log_ratio + half
        return math.expm1(low), math.expm1(high) if high < 700.0 else math.inf


UNKNOWN = Difference(math.nan, math.nan)


def difference(control: ArmSums, arm: ArmSums) -> Difference:
    """How much more an arm has than the control; UNKNOWN where that cannot be told yet."""
    arms = (control, arm)
    if any(len(one.value) < LEAST_UNITS or not one.mean > 0.0 for one in arms):
        return UNKNOWN
    parts = [one.influence for one in arms]
    log_ratio = math.log(arm.mean / control.mean)
    if control.known is not None and arm.known is not None:
        known = _centred(control.known, arm.known)
        slope = _slope(parts, known)
        log_ratio -= slope * float(known[1].mean() - known[0].mean())
        parts = [part - slope * one for part, one in zip(parts, known, strict=True)]
    error = math.sqrt(sum(float(part.var(ddof=1)) / len(part) for part in parts))
    return Difference(log_ratio, error) if error > 0.0 else UNKNOWN


def _centred(control: Covariate, arm: Covariate) -> list[Floats]:
    """What is known of units beyond what their count lets expect, of both arms [U] each; by one mean of both.

    No treatment has touched it, so its mean is the same in both arms but for chance.
    """
    both = (control, arm)
    count = sum(float(one.count.sum()) for one in both)
    mean = sum(float(one.value.sum()) for one in both) / count if count > 0.0 else 0.0
    return [one.value - mean * one.count for one in both]


def _slope(parts: list[Floats], known: list[Floats]) -> float:
    """Of the least squares of influences by what is known, within arms."""
    centred = [one - one.mean() for one in known]
    square = sum(float(one @ one) for one in centred)
    return (
        sum(float(part @ one) for part, one in zip(parts, centred, strict=True)) / square if square else 0.0
    )


def design_effect(unit: Ints, value: Floats) -> float:
    """How many times as many requests an experiment needs as if they were independent.

    Args:
        unit: of each request, numbered from 0 [R].
        value: of each request [R].
    """
    apart = value - value.mean()
    sums = np.bincount(unit, apart)
    return float(sums @ sums) / float(apart @ apart)
