"""Guardrails: whether an arm does harm, as soon as it can be known; at every look, with few false alarms.

Behaviours are counted as units that did it at least once. Where the arm does no harm, the arm of each unit
that joins them is the arm with the probability of its share of units, whatever units are like, how often they
come and how many there are yet: so the likelihood ratio of any smaller probability is an e-process, exact at
any sample size, and a mixture of some is one, too (Ville 1939; Robbins 1970; Howard, Ramdas, McAuliffe and
Sekhon 2021). It is ever above 1 / alpha with probability alpha at most. Errors and slow answers, which come
by answer and not by unit, are counted as such. A metric that is no count has a one-sided confidence sequence.
Knows no metric's meaning.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from model.experiments import Harm
from training.experiments.differences import Difference

RATIOS = {0.6: 0.6, 0.3: 0.1, 0.8: 0.15, 0.92: 0.15}
"""Harms that are looked for, as ratios of rates, and how much each counts; their inverses, of what rises.

Where half the shares are gone, more than half of the units that shared still do: .6 times as many.
"""


@dataclass(frozen=True)
class Harmed:
    """What a guardrail says.

    Attributes:
        alarm: whether harm is sure.
        ratio: of the arm's rate and the control's, as counted; NaN where there is none yet.
        e_value: of the test, where it has one.
    """

    alarm: bool
    ratio: float
    e_value: float | None = None


def by_counts(
    control: int, arm: int, share: float, harm: Harm, *, margin: float = 0.0, alpha: float = 0.005
) -> Harmed:
    """Whether an arm has too few or too many units that did something.

    Args:
        control, arm: units of both that did; or answers.
        share: of the arm's units, of both arms' units.
        harm: what is bad.
        margin: fraction by which the rate may be off before it is harm.
        alpha: probability of an alarm, at any look, where there is no harm.
    """
    borne = 1.0 - margin if harm == "falls" else 1.0 + margin
    logs = [
        math.log(weight) + _log_ratio(control, arm, share, borne, borne * (r if harm == "falls" else 1.0 / r))
        for r, weight in RATIOS.items()
    ]
    highest = max(logs)
    log_e = highest + math.log(sum(math.exp(one - highest) for one in logs))
    ratio = arm / control * (1.0 - share) / share if control else math.nan
    return Harmed(log_e >= -math.log(alpha), ratio, math.exp(min(log_e, 700.0)))


def _log_ratio(control: int, arm: int, share: float, borne: float, harmful: float) -> float:
    """Of likelihoods of whose these are: where the arm's rate is that harmful, by where it can be borne."""
    now, then = (share * ratio / (share * ratio + 1.0 - share) for ratio in (harmful, borne))
    return arm * math.log(now / then) + control * math.log((1.0 - now) / (1.0 - then))


def by_mean(
    found: Difference, planned: float, harm: Harm, *, margin: float = 0.0, alpha: float = 0.005
) -> Harmed:
    """Whether an arm's mean is surely too low or too high; arguments as for counts.

    Args:
        found: difference to the control.
        planned: standard error of the plan.
    """
    low, high = found.interval(planned, alpha, sides=1)
    alarm = high < -margin if harm == "falls" else low > margin
    return Harmed(alarm, 1.0 + found.relative)


def divergence(ratio: float, share: float) -> float:
    """Of Kullback and Leibler: what a unit that did it says of this ratio of rates against no harm, in nats.

    `log(1 / alpha)` over it is how many such units any test needs in the mean.
    """
    q = share * ratio / (share * ratio + 1.0 - share)
    return q * math.log(q / share) + (1.0 - q) * math.log((1.0 - q) / (1.0 - share))
