"""Deciding: what follows from a look: a rollback, a decision, a pause, a step of the ramp, or nothing yet.

A function of the experiment and the look alone, so that whoever decides again, after a crash or beside
another, decides the same; the service refuses what comes second. Asks nobody and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from model.experiments import Experiment, Ramp, Verdict
from training.experiments.watching.looking import Looked
from training.experiments.watching.reading import began_ms

_HOUR_MS = 3_600_000
SILENT_MS = _HOUR_MS
"""Without an exposure of an arm, or without feedback, from which on it is said."""


@dataclass(frozen=True)
class Action:
    """A change of an experiment.

    Attributes:
        what: as `model.client.experiments` names it.
        why: for the audit.
        body: what else it takes there: `to`, `arm`, `outcome`.
    """

    what: Literal["stop", "pause", "decide", "ramp"]
    why: str
    body: dict[str, Any] = field(default_factory=dict)


def action(one: Looked) -> Action | None:
    """What is to be done now, if anything.

    An arm that is better ends the comparison; else one that is worse, and then all get what is active.
    """
    experiment, judged = one.experiment, one.judged
    if arm := _best(one):
        outcome = {"verdict": "better", "arm": arm}
        if experiment.on_better == "activate":
            return Action("decide", judged[arm].why, {"arm": arm, "outcome": outcome})
        return Action("pause", f"{arm} is better: {judged[arm].why}", {"outcome": outcome})
    if arm := _first("worse", one):
        why = f"{arm} is worse: {judged[arm].why}"
        return Action("stop", why, {"outcome": {"verdict": "worse", "arm": arm}})
    if arm := _first("inconclusive", one):
        return Action("pause", judged[arm].why, {"outcome": {"verdict": "inconclusive", "arm": arm}})
    step = next_step(experiment)
    if step is not None and not _lacks(one, step) and not _unjudged(one):
        why = f"as planned: {step.hours:g} hours and {step.units:,} units an arm without an alarm"
        return Action("ramp", why, {"to": step.to})
    return None


def _best(one: Looked) -> str | None:
    """The arm that is better, of several the one that is most."""
    primary = one.experiment.terms.primary if one.experiment.terms is not None else ""
    better = {arm: of.differences[primary][0] for arm, of in one.judged.items() if of.verdict == "better"}
    return max(better, key=better.__getitem__, default=None)


def _first(verdict: Verdict, one: Looked) -> str | None:
    return next((arm for arm, of in one.judged.items() if of.verdict == verdict), None)


def next_step(experiment: Experiment) -> Ramp | None:
    """The next step of the ramp's plan; None where there is none."""
    return next((step for step in experiment.ramps if step.to > experiment.ramp), None)


def _lacks(one: Looked, step: Ramp) -> list[str]:
    """What a step waits for. Hours count as far as events have come: what nobody sees proves nothing."""
    since_ms = max(one.experiment.ramped_ms or 0, began_ms(one.experiment))
    left_ms = step.hours * _HOUR_MS - (one.seen_until_ms - since_ms)
    lacks = []
    if left_ms > 0 or one.seen_until_ms <= since_ms:
        lacks.append(f"after {_more(max(left_ms, 0.0) / _HOUR_MS, 'hour')} of events")
    units = dict(zip(one.look.shares, one.look.units, strict=True))
    fewest = min(units, key=units.__getitem__)
    if units[fewest] < step.units:
        lacks.append(f"when {fewest} has {step.units:,} units, of which {units[fewest]:,} have come")
    return lacks


def _unjudged(one: Looked) -> list[str]:
    """Metrics that cannot be evaluated and that a ramp goes by: the primary one, and those of guardrails."""
    terms, look = one.experiment.terms, one.look
    judged = [] if terms is None else [terms.primary, *(guard.metric for guard in terms.guardrails)]
    return [name for name in dict.fromkeys(judged) if name in look.failed and name not in look.counts]


def says(one: Looked) -> str:
    """What happens next, and when, in a sentence or two."""
    does = action(one)
    if does is not None:
        to = f" to {does.body['to']:,} buckets" if does.what == "ramp" else ""
        return f"{does.what}{to}: {does.why}"
    terms, step = one.experiment.terms, next_step(one.experiment)
    parts = []
    unjudged = _unjudged(one)
    if unjudged:
        why = "; ".join(f"{name} cannot be evaluated: {one.look.failed[name]}" for name in unjudged)
        waits = ["no ramp"] if step is not None else []
        waits += ["no verdict but harm"] if terms is not None and terms.primary in unjudged else []
        parts.append(f"{' and '.join(waits) or 'a guardrail is not watched'} until this is mended: {why}")
    elif step is not None:
        parts.append(f"ramps to {step.to:,} buckets {' and '.join(_lacks(one, step))}")
    if terms is not None and terms.primary not in one.look.failed:
        left = max(terms.days - one.look.days, 0.0)
        parts.append(f"a verdict after {_more(left, 'day')} of complete feedback at the latest")
    return "; ".join([*parts, *silences(one)])


def silences(one: Looked) -> list[str]:
    """Of which arms nothing comes any more, and whether feedback does; a sentence each."""
    began = began_ms(one.experiment)
    found = []
    for arm, newest_ms in one.newest_ms.items():
        if one.time_ms - (began if newest_ms is None else newest_ms) > SILENT_MS:
            what = "no exposure" if newest_ms is None else "no newer exposure"
            found.append(f"{what} of {arm} for {_hours(one.time_ms - (newest_ms or began))}")
    came = one.feedback_ms
    if one.time_ms - (began if came is None else came) > SILENT_MS:
        found.append(f"no feedback on the last {_hours(one.time_ms - (came or began))}: verdicts wait for it")
    return found


def _more(count: float, unit: str) -> str:
    """`1 more hour`, `1.5 more hours`."""
    number = f"{count:.2g}"
    return f"{number} more {unit}{'s' * (number != '1')}"


def _hours(ms: int) -> str:
    return f"{ms / _HOUR_MS:.1f} hours"
