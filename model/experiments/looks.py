"""Looks: what a controller saw of an experiment and said of it, as it is published. Judges nothing."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from model.experiments.terms import Verdict
from model.frozen import Frozen, Name

MAX_LOOK_BYTES = 64 * 1024
"""Of a look, as JSON."""
MOST_LOOKS = 400
"""Of an experiment that are kept; of more, those whose neighbours are closest go."""

TimeMs = Annotated[int, Field(ge=0, le=1 << 53)]
"""Unix time, milliseconds."""
Count = Annotated[int, Field(ge=0, le=1 << 53)]


class SeenMetric(Frozen):
    """A metric in one arm. What is not known yet is None, and so are the control's differences."""

    value: float | None
    """Mean by request, or whatever the metric is."""
    difference: float | None = None
    """To the control, as a fraction of it."""
    low: float | None = None
    high: float | None = None
    """Ends of the difference's confidence sequence."""


class SeenGuardrail(Frozen):
    """A guardrail in one arm."""

    ratio: float | None
    """Of the arm's rate and the control's."""
    e_value: float | None = None
    alarm: bool = False


class SeenRatio(Frozen):
    """Units by arm against the declared shares, where they are farthest from them."""

    alarm: bool
    e_value: float | None = None
    scene: str = ""
    counts: dict[Name, Count] = Field(default_factory=dict)
    expected: dict[Name, float] = Field(default_factory=dict)


class SeenVerdict(Frozen):
    """What is said of an arm."""

    verdict: Verdict | None
    why: str


class LookReport(Frozen):
    """What was seen of an experiment at one moment. Arms and metrics by name."""

    time_ms: TimeMs
    days: float
    """Since the comparison began."""
    mature_until_ms: TimeMs | None
    """Feedback on impressions before it has come, and only these count for metrics."""
    units: dict[Name, Count]
    metrics: dict[Name, dict[Name, SeenMetric]] = Field(default_factory=dict)
    guardrails: dict[Name, dict[Name, SeenGuardrail]] = Field(default_factory=dict)
    sample_ratio: SeenRatio | None = None
    crossed: Count = 0
    """Units that were seen in several arms."""
    verdicts: dict[Name, SeenVerdict] = Field(default_factory=dict)
    next: str = ""
    """What happens next, and when, in a sentence."""
