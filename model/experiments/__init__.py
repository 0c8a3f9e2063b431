"""Experiments: which of them a request belongs to, and which arm of each. Pure; knows no store, no service.

layer -> experiment -> arm
"""

from model.experiments.assignment import Assigned, Assigner, arms_of
from model.experiments.config import (
    BUCKETS,
    HOLDOUT,
    Arm,
    Experiment,
    ExperimentError,
    Experiments,
    Layer,
    Unit,
)
from model.experiments.looks import (
    MAX_LOOK_BYTES,
    MOST_LOOKS,
    LookReport,
    SeenGuardrail,
    SeenMetric,
    SeenRatio,
    SeenVerdict,
)
from model.experiments.terms import Guardrail, Harm, Outcome, Ramp, Terms, Verdict

__all__ = [
    "BUCKETS",
    "HOLDOUT",
    "MAX_LOOK_BYTES",
    "MOST_LOOKS",
    "Arm",
    "Assigned",
    "Assigner",
    "Experiment",
    "ExperimentError",
    "Experiments",
    "Guardrail",
    "Harm",
    "Layer",
    "LookReport",
    "Outcome",
    "Ramp",
    "SeenGuardrail",
    "SeenMetric",
    "SeenRatio",
    "SeenVerdict",
    "Terms",
    "Unit",
    "Verdict",
    "arms_of",
]
