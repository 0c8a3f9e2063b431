"""Looking: from what units brought to what is said of arms, and how that is published.

Guardrails go by all that has come so far, metrics by the time whose feedback is complete. Reads no log,
decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from model.experiments import Experiment, Terms
from training.experiments.differences import ArmSums, Covariate
from training.experiments.units import Units
from training.experiments.verdicts import Judged, Look, judge
from training.experiments.watching.answers import Counts, of_metric
from training.experiments.watching.measures import ANSWERS
from training.experiments.watching.reading import REQUESTS, Seen, began_ms

_DAY_MS = 86_400_000.0


@dataclass(frozen=True, eq=False)
class Looked:
    """What was seen of an experiment, and what is said of it.

    Attributes:
        experiment: as it was when it was looked at.
        time_ms: when.
        look: that was judged.
        judged: by arm beside the control.
        mature_until_ms: impressions before it have had their feedback.
        seen_until_ms: until when events have come of each arm, exposures and feedback; the comparison's begin
            where none have.
        newest_ms: of each arm, its newest exposure; None where there is none.
        feedback_ms: when the newest event that came happened; None where there is none.
    """

    experiment: Experiment
    time_ms: int
    look: Look
    judged: Mapping[str, Judged]
    mature_until_ms: int
    seen_until_ms: int
    newest_ms: Mapping[str, int | None]
    feedback_ms: int | None


def looked(experiment: Experiment, seen: Seen, answers: Mapping[str, Counts], now_ms: int) -> Looked:
    """Look.

    Args:
        experiment: that runs, with terms.
        seen: what units brought.
        answers: sums of answers by arm.
        now_ms: Unix time, milliseconds.
    """
    terms = experiment.terms
    assert terms is not None  # noqa: S101 - the caller has seen to it
    look = _look(experiment, terms, seen, answers)
    newest = dict(seen.rows.group_by("arm").agg(pl.col("newest_ms").max()).iter_rows())
    newest_ms = {arm.name: newest.get(place) for place, arm in enumerate(experiment.arms)}
    came = [*newest_ms.values(), seen.newest_feedback_ms]
    began = began_ms(experiment)
    seen_until = began if None in came else max(min(ms for ms in came if ms is not None), began)
    return Looked(
        experiment,
        now_ms,
        look,
        judge(terms, look),
        seen.mature_until_ms,
        min(seen_until, now_ms),
        newest_ms,
        seen.newest_feedback_ms,
    )


def _look(experiment: Experiment, terms: Terms, seen: Seen, answers: Mapping[str, Counts]) -> Look:
    arms = [arm.name for arm in experiment.arms]
    columns = [name for name in seen.rows.columns if name.startswith(("so_far ", "mature "))]
    rows = seen.rows.group_by("unit", "arm").agg(pl.col(columns).sum())
    if seen.before is not None:
        known = [name for name in seen.before.columns if name.startswith("before ")]
        rows = rows.join(seen.before, on="unit", how="left").with_columns(pl.col(known).fill_null(0.0))
        columns += known
    units = Units.none(arms, columns).add(
        rows["unit"].to_numpy(), rows["arm"].to_numpy(), {name: rows[name].to_numpy() for name in columns}
    )
    of_arm = {arm: units.of_arm(arm) for arm in arms}
    metrics = [name.removeprefix("mature ") for name in columns if name.startswith("mature ")]
    mature, so_far = (
        {name: {arm: _sums(of_arm[arm], of, name) for arm in arms} for name in metrics if name != REQUESTS}
        for of in ("mature", "so_far")
    )
    began, stop_ms = began_ms(experiment), experiment.stop_ms
    counts = {
        one.metric: {arm: of_metric(answers.get(arm, {}), one.metric, terms.slow_ms) for arm in arms}
        for one in terms.guardrails
        if one.metric in ANSWERS
    }
    return Look(
        days=(seen.mature_until_ms - began) / _DAY_MS,
        shares=experiment.shares,
        metrics=mature,
        units=units.counts().tolist(),
        units_by_scene=_by_scene(seen.rows, units, len(arms)),
        crossed=int(units.crossed.sum()),
        counts=counts,
        so_far=so_far,
        over=stop_ms is not None and seen.mature_until_ms >= stop_ms,
        failed=seen.failed,
    )


def _sums(of: Mapping[str, Any], when: str, name: str) -> ArmSums:
    """A metric of an arm's units that have had requests whose time has come."""
    count = of[f"{when} {REQUESTS}"]
    some = count > 0.0
    known = None
    if f"before {name}" in of:
        known = Covariate(of[f"before {name}"][some], of[f"before {REQUESTS}"][some])
    return ArmSums(of[f"{when} {name}"][some], count[some], known)


def _by_scene(rows: pl.DataFrame, units: Units, arms: int) -> dict[str, list[int]]:
    crossed = pl.Series(units.unit[units.crossed], dtype=pl.UInt64)
    once = rows.filter(~pl.col("unit").is_in(crossed.implode())).unique(["unit", "arm", "scene"])
    found: dict[str, list[int]] = {}
    for scene, arm, count in once.group_by("scene", "arm").len().sort("scene").iter_rows():
        found.setdefault(scene or "", [0] * arms)[arm] = count
    return found


def published(one: Looked, says: str) -> dict[str, Any]:
    """A look as the service keeps it, without what is no number.

    Args:
        one: it.
        says: what happens next.
    """
    arms = list(one.look.shares)
    control, first = arms[0], next(iter(one.judged.values()))
    ratio = first.sample_ratio
    metrics: dict[str, dict[str, dict[str, float | None]]] = {}
    for name, of in one.look.metrics.items():
        with np.errstate(invalid="ignore", divide="ignore"):
            values = {arm: _number(of[arm].mean) for arm in arms}
        nothing = dict.fromkeys(("difference", "low", "high"))
        metrics[name] = {control: {"value": values[control], **nothing}}
        for arm, judged in one.judged.items():
            ends = judged.differences[name]
            known = (
                dict(zip(nothing, map(_number, ends), strict=True)) if not math.isnan(ends[0]) else nothing
            )
            metrics[name][arm] = {"value": values[arm], **known}
    guardrails: dict[str, dict[str, Any]] = {}
    for arm, judged in one.judged.items():
        for name, harmed in judged.harmed.items():
            guardrails.setdefault(name, {})[arm] = {
                "ratio": _number(harmed.ratio),
                "e_value": None if harmed.e_value is None else _number(harmed.e_value),
                "alarm": bool(harmed.alarm),
            }
    return {
        "time_ms": one.time_ms,
        "days": one.look.days,
        "mature_until_ms": one.mature_until_ms,
        "units": dict(zip(arms, one.look.units, strict=True)),
        "metrics": metrics,
        "guardrails": guardrails,
        "sample_ratio": {
            "alarm": bool(ratio.alarm),
            "e_value": _number(ratio.e_value),
            "scene": ratio.scene,
            "counts": dict(zip(arms, ratio.counts, strict=True)),
            "expected": dict(zip(arms, ratio.expected, strict=True)),
        },
        "crossed": one.look.crossed,
        "verdicts": {arm: {"verdict": of.verdict, "why": of.why} for arm, of in one.judged.items()},
        "next": says,
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
