"""Confidence sequences: intervals that hold at every look at once, so that who looks daily may stop at any.

Asymptotic ones, of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024, "Time-uniform central limit theory
and asymptotic confidence sequences", Annals of Statistics): a mean of t values has the half-width

    sd * sqrt(2 (t r + 1) / (t^2 r) * log(sqrt(t r + 1) / alpha))

With the standard error e = sd / sqrt(t) and x = t r, that is e times a factor of x alone; x says how much is
known by now, of what is planned to be: x = x* (planned error / e)^2, where x* makes the sequence narrowest at
the planned error. So told, it holds for any estimate whose history is a random walk in 1 / e^2, also where
values come in clusters that grow (Robbins 1970 has the bound for such walks; simulations have the rest).
Knows neither what is estimated nor how.
"""

from __future__ import annotations

import math
from statistics import NormalDist


def factor(error: float, planned: float, alpha: float, *, sides: int = 2) -> float:
    """Half-width of the sequence by the standard error at this look.

    Args:
        error: standard error now; 0 or less, or no number: nothing is known, and the factor is infinite.
        planned: standard error for which the sequence is narrowest, fixed before the first look.
        alpha: probability of a false alarm at any look.
        sides: 1 for a bound on one side alone (their proposition on one-sided sequences).
    """
    if not error > 0.0:
        return math.inf
    return _factor(_best(alpha if sides == 2 else 2.0 * alpha) * (planned / error) ** 2, alpha, sides)


def planned_factor(alpha: float, *, sides: int = 2) -> float:
    """The factor where the error is the planned one."""
    return factor(1.0, 1.0, alpha, sides=sides)


def normal_quantile(p: float) -> float:
    """Of the standard normal distribution."""
    return NormalDist().inv_cdf(p)


def _best(alpha: float) -> float:
    """x where the sequence is narrowest, to a good approximation (their appendix)."""
    return -2.0 * math.log(alpha) + math.log(-2.0 * math.log(alpha)) + 1.0


def _factor(x: float, alpha: float, sides: int) -> float:
    root = math.sqrt(1.0 + x)
    inside = math.log(root / alpha) if sides == 2 else math.log1p(root / (2.0 * alpha))
    return math.sqrt(2.0 * (1.0 + x) / x * inside)
