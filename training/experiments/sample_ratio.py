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

CONCENTRATIONS = (100.0, 10_000.0)
"""Of the Dirichlet distributions, in units: shares are off by some 1 / sqrt of it of themselves."""


@dataclass(frozen=True)
class SampleRatio:
    """What the test says.

    Attributes:
        e_value: the largest, over scenes.
        scene: where it is.
        alarm: whether it is beyond what chance explains, given the number of scenes.
        counts: units by arm there, and as `expected`.
    """

    e_value: float
    scene: str
    alarm: bool
    counts: Sequence[int]
    expected: Sequence[float]


def sample_ratio(
    counts: Mapping[str, Sequence[int]], shares: Sequence[float], alpha: float = 0.0005
) -> SampleRatio:
    """Whether units are dealt to arms as declared, in every scene.

    Args:
        counts: by scene: units by arm seen there, each once, since the experiment began [A].
        shares: declared ones [A].
        alpha: probability of an alarm at any look where all is well; divided by the number of scenes.
    """
    e_values = {scene: log_e_value(of, shares) for scene, of in counts.items()}
    scene = max(e_values, key=lambda name: e_values[name])
    total, highest = sum(counts[scene]), e_values[scene]
    return SampleRatio(
        e_value=math.exp(min(highest, 700.0)),
        scene=scene,
        alarm=highest >= math.log(len(counts) / alpha),
        counts=counts[scene],
        expected=[share * total for share in shares],
    )


def log_e_value(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Logarithm of the e-value of counts [A] against shares [A]."""
    logs = [_log_e_value(counts, shares, of) for of in CONCENTRATIONS]
    highest = max(logs)
    return highest + math.log(sum(math.exp(one - highest) for one in logs) / len(logs))


def _log_e_value(counts: Sequence[int], shares: Sequence[float], concentration: float) -> float:
    found = math.lgamma(concentration) - math.lgamma(concentration + sum(counts))
    for count, share in zip(counts, shares, strict=True):
        prior = concentration * share
        found += math.lgamma(prior + count) - math.lgamma(prior) - count * math.log(share)
    return found
