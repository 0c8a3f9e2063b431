"""Planning: how long an experiment takes to find a difference; computed before it starts.

The plan counts on the last look alone: most experiments come to a verdict before. Knows no data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.errors import FulcrumError
from training.experiments.sequences import normal_quantile, planned_factor


@dataclass(frozen=True)
class DesignEffect:
    """Of a log: the variance of its means over that of as many independent requests; covariates included.

    Attributes:
        value: 1 for independent requests.
        days: of the log, where units come again: what they have in common then counts more day by day, and
            the effect is 1 + (value - 1) d / days after d of them. None where every day has units of its own.
    """

    value: float = 1.0
    days: float | None = None


@dataclass(frozen=True)
class Plan:
    """What an experiment takes.

    Attributes:
        requests: of control and arm together; infinite where no number of them finds the difference, as units
            differ by more than that and there are too few.
        days: that these take.
        error: standard error at the end, of the difference of logarithms: what sequences are planned for.
        half_width: of the confidence sequence at the end, as a fraction of the control's metric.
    """

    requests: float
    days: float
    error: float
    half_width: float


def plan(
    difference: float,
    deviation: float,
    requests_a_day: float,
    *,
    shares: tuple[float, float] = (0.5, 0.5),
    design: DesignEffect | None = None,
    alpha: float = 0.05,
    power: float = 0.9,
) -> Plan:
    """What it takes to find a difference, however often one looks.

    Args:
        difference: to be found, as a fraction of the control's metric: .01.
        deviation: standard deviation of a request's value by its mean.
        requests_a_day: of control and arm together.
        shares: of these: the control's and the arm's.
        design: of the units that arms are dealt to; None for independent requests.
        alpha: of the verdict; by the number of arms beside the control where there are several.
        power: probability that the difference is found, if it is there.

    Raises:
        FulcrumError: a difference of 0 or of the whole metric, no requests, or shares that are not above 0.
    """
    if difference <= -1.0 or difference == 0.0 or min(requests_a_day, *shares) <= 0.0:
        raise FulcrumError(
            f"cannot plan for a difference of {difference:g}, {requests_a_day:g} requests a day and shares "
            f"of {shares[0]:g} and {shares[1]:g}; expected one above -1 and not 0, and the others above 0"
        )
    wide, design = planned_factor(alpha), design or DesignEffect()
    error = abs(math.log1p(difference)) / (wide + normal_quantile(power))
    independent = deviation**2 * sum(sum(shares) / share for share in shares) / error**2
    days = independent / requests_a_day
    if design.days is None:
        days *= design.value
    else:
        left = 1.0 - days * (design.value - 1.0) / design.days
        days = (days if left > 0.0 else math.inf) / max(left, 1e-12)
    return Plan(days * requests_a_day, days, error, math.expm1(wide * error))
