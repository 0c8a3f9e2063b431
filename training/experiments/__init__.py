"""Experiments: what may be concluded from arms that ran side by side, at any look. Pure NumPy.

Reads no log and changes nothing: sums of units go in, verdicts come out. `watching/` is the controller, which
reads the log, has it judged here and acts.
"""

from training.experiments.differences import ArmSums, Covariate, Difference, design_effect, difference
from training.experiments.guardrails import Harmed, by_counts, by_mean
from training.experiments.planning import DesignEffect, Plan, plan
from training.experiments.sample_ratio import SampleRatio, sample_ratio
from training.experiments.units import Units
from training.experiments.verdicts import Judged, Look, judge

__all__ = [
    "ArmSums",
    "Covariate",
    "DesignEffect",
    "Difference",
    "Harmed",
    "Judged",
    "Look",
    "Plan",
    "SampleRatio",
    "Units",
    "by_counts",
    "by_mean",
    "design_effect",
    "difference",
    "judge",
    "plan",
    "sample_ratio",
]
