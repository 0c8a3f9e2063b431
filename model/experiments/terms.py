"""Terms: how an experiment is judged and ramped, declared before it starts. Judges nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from model.frozen import Frozen, Name

Verdict = Literal["better", "worse", "inconclusive"]
Harm = Literal["falls", "rises"]
Alpha = Annotated[float, Field(gt=0, lt=0.5)]


class Guardrail(Frozen):
    """A metric that must not get worse."""

    metric: Name
    """A metric of the terms, or of answers: `failed`, `degraded`, `slow`."""
    harm: Harm = "falls"
    test: Literal["counts", "mean"] = "counts"
    """Of units that have any of it; or of its mean."""
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction by which it may be off."""
    alpha: Alpha = 0.005


class Terms(Frozen):
    """How an experiment is judged."""

    primary: Name
    """The metric that decides; more of it is better."""
    metrics: Annotated[dict[Name, str], Field(default_factory=dict)]
    """By name: an expression over the joined log's columns, summed by request; `reward` is the recipe's
    where nothing else is said."""
    guardrails: tuple[Guardrail, ...] = ()
    days: Annotated[float, Field(gt=0)]
    """After which there is a verdict, if only that it is inconclusive."""
    planned_error: Annotated[float, Field(gt=0)]
    """Standard error of the primary metric's difference that is expected then: `Plan.error`."""
    alpha: Alpha = 0.05
    """Probability that any arm is called better or worse where all are alike, guardrails apart."""
    before_days: Annotated[float, Field(ge=0)] = 0.0
    """Days before the start whose sums of the same units are known (CUPED); 0 for none."""
    slow_ms: Annotated[float, Field(gt=0)] = 100.0
    """Answers that take longer count as `slow`."""
    sample_ratio_alpha: Alpha = 0.001
    most_crossed: Annotated[float, Field(ge=0, lt=1)] = 0.001
    """Share of units seen in several arms, beyond which arms are not compared."""


class Ramp(Frozen):
    """A step of a ramp's plan."""

    to: Annotated[int, Field(ge=1)]
    """Buckets that are live then."""
    hours: Annotated[float, Field(ge=0)] = 0.0
    """Since the step before, at the least."""
    units: Annotated[int, Field(ge=0)] = 0
    """That each arm must have had since the comparison began, at the least."""


class Outcome(Frozen):
    """How a comparison ended."""

    verdict: Verdict
    arm: Name | None = None
    """Of which it is said."""
    why: str = ""
    time_ms: int = 0
    actor: str = ""
