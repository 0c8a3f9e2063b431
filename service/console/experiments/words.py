"""Experiments in words: what an arm is, how much is live, what a look says. Knows no elements."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from model.experiments import BUCKETS
from service.console.words import NOTHING, count, moment, number, percent, signed_percent, span, version

Report = Mapping[str, Any]
_DAY_MS = 86_400_000.0


def units(unit: str) -> str:
    """What a layer deals: users, sessions, requests."""
    return f"{unit}s"


def buckets(first: int, size: int) -> str:
    """A run of buckets: `0 to 1,999`."""
    return f"{first:,}" if size == 1 else f"{first:,} to {first + size - 1:,}"


def part(live: float, size: float = BUCKETS) -> str:
    """Of so many buckets, the layer's where nothing else is said: `2.5 %`."""
    return f"{number(100.0 * live / size)} %"


def is_live(one: Report) -> bool:
    """Whether requests take part now."""
    now = 1000.0 * time.time()
    begun = one["start_ms"] is None or one["start_ms"] <= now
    return one["state"] == "running" and begun and (one["stop_ms"] is None or now < one["stop_ms"])


def state(one: Report) -> str:
    """Its state, with what a scheduled start or stop makes of it."""
    now = 1000.0 * time.time()
    if one["state"] == "running" and one["start_ms"] is not None and one["start_ms"] > now:
        return f"begins at {moment(one['start_ms'])}"
    if one["state"] == "running" and one["stop_ms"] is not None:
        return f"ended at {moment(one['stop_ms'])}" if one["stop_ms"] <= now else "running"
    return str(one["state"])


def what_it_has(arm: Mapping[str, Any]) -> str:
    """An arm: which bundle and which fusion; what it does not name is what is active."""
    parts = [] if arm["bundle"] is None else [f"bundle {version(arm['bundle'])}"]
    if arm["revision"] is not None:
        parts.append(f"revision {arm['revision']}")
    if arm["patch"] is not None:
        parts.append("a patch of the active config")
    return " and ".join(parts) or "what is active"


def live(one: Report, unit: str, ramp: int | None = None) -> str:
    """How much of it, and of its layer, is live, or would be at another ramp."""
    found = one["ramp"] if ramp is None else ramp
    return f"{found:,} of its {one['size']:,} buckets, {part(found)} of all {units(unit)}"


def by_arm(one: Report, ramp: int) -> list[str]:
    """What part of a layer's units each arm has at a ramp."""
    return [f"{arm['name']} {part(arm['share'] / BUCKETS * ramp)}" for arm in one["arms"]]


def units_a_day(one: Report, ramp: int) -> float | None:
    """New units of all arms by day at a ramp, as the newest look has them; None without one."""
    look, since = one["look"], one["since_ms"]
    if look is None or since is None or look["time_ms"] <= since or not one["ramp"]:
        return None
    return float(sum(look["units"].values()) * _DAY_MS / (look["time_ms"] - since) * ramp / one["ramp"])


def steps(one: Report) -> list[tuple[str, str]]:
    """The plan of its ramp: what each step is, and whether it is done, next or later."""
    next_at = next((at for at, step in enumerate(one["ramps"]) if step["to"] > one["ramp"]), None)
    found = []
    for at, step in enumerate(one["ramps"]):
        least = [f"after {span(3600.0 * step['hours'])}"] if step["hours"] else []
        least += [f"once each arm has had {count(step['units'], 'unit')}"] if step["units"] else []
        when = "done" if next_at is None or at < next_at else "next" if at == next_at else "later"
        says = f"{step['to']:,} buckets, {part(step['to'])}"
        found.append((f"{says} {' and '.join(least)}".strip(), when))
    return found


def next_ramp(one: Report) -> int:
    """What to ramp to: the plan's next step, else all that it holds."""
    planned = (step["to"] for step in one["ramps"] if step["to"] > one["ramp"])
    return int(next(planned, one["size"]))


def verdicts(one: Report) -> list[str]:
    """What is said of it, a line each: how it ended, else what the newest look says of each arm."""
    outcome, look = one["outcome"], one["look"]
    lines = []
    if outcome is not None:
        of = f"{outcome['arm']} is {outcome['verdict']}" if outcome["arm"] else str(outcome["verdict"])
        by = f"said by {outcome['actor'] or 'nobody'} at {moment(outcome['time_ms'])}"
        lines.append(f"Outcome: {of}, {by}. {outcome['why']}".strip())
    if look is None:
        if one["state"] == "draft":
            return [*lines, "Not started: nobody takes part but testers."]
        judge = "Nobody has looked at it yet: `fulcrum watch` does." if one["terms"] else "People judge it."
        return [*lines, judge]
    for arm, found in look["verdicts"].items():
        lines.append(f"{arm}: {found['verdict'] or 'no verdict yet'}; {found['why']}")
    if look["sample_ratio"] is not None and look["sample_ratio"]["alarm"]:
        lines.append(f"The arms have not the shares that were declared: {_ratio(look['sample_ratio'])}.")
    if look["crossed"]:
        lines.append(f"{count(look['crossed'], 'unit')} met more than one arm.")
    return [*lines, look["next"]] if look["next"] else lines


def _ratio(found: Mapping[str, Any]) -> str:
    parts = [
        f"{arm} {seen:,} units where {found['expected'].get(arm, 0.0):,.0f} were expected"
        for arm, seen in found["counts"].items()
    ]
    return ", ".join(parts) + (f" ({found['scene']})" if found["scene"] else "")


def ends(low: float | None, high: float | None) -> str:
    """An interval of differences: `-0.30 % to +2.90 %`."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)):
        return NOTHING
    return f"{signed_percent(low, 2)} to {signed_percent(high, 2)}"


def metrics_of(one: Report, looks: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of metrics that were seen, the primary first."""
    primary = (one["terms"] or {}).get("primary")
    names = dict.fromkeys(name for look in looks[::-1] for name in look["metrics"])
    return sorted(names, key=lambda name: name != primary)


def confidence(one: Report) -> str:
    """Of the intervals: at all looks together."""
    alpha = (one["terms"] or {}).get("alpha", 0.05)
    return f"{percent(1.0 - alpha, 0 if alpha >= 0.01 else 1)} confidence sequences, which hold at all looks"
