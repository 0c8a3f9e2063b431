"""Sample ratio: whether arms get the units that they should; where not, no comparison of them means a thing.

A sequential test of counts: Lindon and Malek (NeurIPS 2022, "Anytime-valid inference for multinomial count
data"). Under the declared shares the e-value is 1 in the mean whenever one looks, so it is ever above
1 / alpha with probability alpha at most (Ville). It is the marginal likelihood of the counts under Dirichlet
distributions around the shares, by the likelihood under the shares: one near them, for 51 to 49, and a wide
one, for what is plainly broken. Knows no units. Shapes: A arms.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

CONCENTRATIONS = {10_000.0: 0.8, 100.0: 0.2}
"""Of the Dirichlet distributions, in units: shares are off by some 1 / sqrt of it of themselves. And how much
each counts."""
ALL = "all scenes"


@dataclass(frozen=True)
class SampleRatio:
    """What the test says.

    Attributes:
        alarm: whether it is beyond what chance explains, anywhere.
        scene: where it is farthest from it; `ALL` for all together.
        e_value: there.
        counts: units by arm there [A].
        expected: what they should be [A].
    """

    alarm: bool
    scene: str
    e_value: float
    counts: Sequence[int]
    expected: Sequence[float]


def sample_ratio(
    counts: Sequence[int],
    by_scene: Mapping[str, Sequence[int]],
    shares: Sequence[float],
    alpha: float = 0.001,
) -> SampleRatio:
    """Whether units are dealt to arms as declared, in all and in each scene.

    Args:
        counts: units by arm, each once, since the experiment began [A].
        by_scene: by scene: those seen there [A].
        shares: declared ones [A].
        alpha: probability of an alarm at any look where all is well: half of it for all units, the other half
            divided among the scenes where there are several.
    """
    several = by_scene if len(by_scene) > 1 else {}
    judged = {ALL: (counts, 2.0), **{name: (of, 2.0 * len(several)) for name, of in several.items()}}
    beyond = {name: log_e_value(of, shares) - math.log(times / alpha) for name, (of, times) in judged.items()}
    scene = max(beyond, key=lambda name: beyond[name])
    found, times = judged[scene]
    return SampleRatio(
        alarm=beyond[scene] >= 0.0,
        scene=scene,
        e_value=math.exp(min(beyond[scene] + math.log(times / alpha), 700.0)),
        counts=found,
        expected=[share * sum(found) for share in shares],
    )


def expected_text(count: float) -> str:
    """Units that are expected: with one decimal where they are not whole."""
    return f"{count:,.0f}" if float(count).is_integer() else f"{count:,.1f}"


def log_e_value(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Logarithm of the e-value of counts [A] against shares [A]."""
    logs = [
        math.log(weight) + _log_e_value(counts, shares, concentration)
        for concentration, weight in CONCENTRATIONS.items()
    ]
    highest = max(logs)
    return highest + math.log(sum(math.exp(one - highest) for one in logs))


def _log_e_value(counts: Sequence[int], shares: Sequence[float], concentration: float) -> float:
    found = math.lgamma(concentration) - math.lgamma(concentration + sum(counts))
    for count, share in zip(counts, shares, strict=True):
        prior = concentration * share
        found += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return found
