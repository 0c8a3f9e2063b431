"""Experiments of a service from memory: reports as the contract has them, and what changes them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from model.experiments import Experiment, LookReport

HOUR_MS = 3_600_000
LAYER = {"name": "ranking", "unit": "user", "holdout": 500, "salt": None, "free": 5500}
VERBS = {
    "start": ("running", "experiment_started"),
    "pause": ("paused", "experiment_paused"),
    "stop": ("stopped", "experiment_stopped"),
    "decide": ("stopped", "experiment_decided"),
    "ramp": (None, "experiment_ramped"),
}


def report(name: str, arms: Sequence[Mapping[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    """A report of an experiment: half of 2,000 buckets of the layer `ranking` unless it is said otherwise."""
    share = 10_000 // len(arms or "ab")
    given = arms or ({"name": "control"}, {"name": "less", "patch": {"scenes": {"default": {}}}})
    asked = {
        "id": name,
        "layer": "ranking",
        "arms": [{"share": share, **arm} for arm in given],
        "first": 0,
        "size": 2000,
        "ramp": 1000,
        "author": "paul",
        "created_ms": int(time.time() * 1000) - 100 * HOUR_MS,
        **more,
    }
    one: dict[str, Any] = Experiment.model_validate(asked).model_dump(mode="json")
    return {**one, "waits": None, "look": None}


def look(one: Mapping[str, Any], hours: float, difference: float, half: float) -> dict[str, Any]:
    """A look at two metrics of an experiment, so many hours after its start."""
    arms = [arm["name"] for arm in one["arms"]]

    def seen(value: float, times: float) -> dict[str, Any]:
        found: dict[str, Any] = {arms[0]: {"value": value}}
        for arm in arms[1:]:
            ends = {"low": times * difference - half, "high": times * difference + half}
            found[arm] = {
                "value": value * (1 + times * difference),
                "difference": times * difference,
                **ends,
            }
        return found

    return LookReport.model_validate(
        {
            "time_ms": one["since_ms"] + int(hours * HOUR_MS),
            "days": hours / 24,
            "mature_until_ms": one["since_ms"] + int(hours * HOUR_MS) - HOUR_MS,
            "units": {arm: int(100 * hours) for arm in arms},
            "metrics": {"comments": seen(0.02, -0.5), "reward": seen(1.234, 1.0)},
            "guardrails": {
                "slow": {arm: {"ratio": 1.01, "e_value": 0.4, "alarm": False} for arm in arms[1:]}
            },
            "sample_ratio": {"alarm": False, "e_value": 0.8},
            "crossed": 0,
            "verdicts": {arm: {"verdict": None, "why": "0 is in its interval"} for arm in arms[1:]},
            "next": "at 7 days there is a verdict",
        }
    ).model_dump(mode="json")


def changed(
    reports: list[dict[str, Any]], name: str, verb: str, body: Mapping[str, Any]
) -> tuple[dict[str, Any] | None, str]:
    """An experiment after a change, and the audit's action; None, and why, where it is refused with 409."""
    one = next(each for each in reports if each["id"] == name)
    if body["if_edition"] != one["edition"]:
        return None, f"experiment {name} is at edition {one['edition']}, not {body['if_edition']}"
    state, action = VERBS[verb]
    one["edition"] += 1
    one["state"] = state or one["state"]
    if verb == "start":
        one["since_ms"] = one["ramped_ms"] = int(time.time() * 1000)
        one["look"] = None
    if verb == "ramp":
        one["ramp"] = body["ramp"]
    return one, action
