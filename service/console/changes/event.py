"""What one event of the audit replaced, and by what, in words. Works on an event, knows no page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.console.words import NOTHING, count, moment, version

Side = Mapping[str, Any]


def subject(event: Mapping[str, Any]) -> str:
    """The experiment or layer that the event is of; empty where it is of neither."""
    sides = (event["after"] or {}, event["before"] or {})
    return str(next((side[key] for side in sides for key in ("id", "name") if key in side), ""))


def sides(event: Mapping[str, Any]) -> tuple[str, str]:
    """What was before the event, and what is after it: `draft` and `running`."""
    before, after = event["before"] or {}, event["after"] or {}
    says = _of_experiment if subject(event) else _of_fusion
    return says(before) or NOTHING, says(after) or NOTHING


def _of_fusion(side: Side) -> str:
    parts = [
        f"{name.replace('_', ' ')} {version(value) if str(value).startswith('sha256:') else value}"
        for name, value in side.items()
        if name in ("revision", "bundle", "parent", "active", "if_active")
    ]
    return ", ".join([*parts, *([f"at {moment(side['at_ms'])}"] if "at_ms" in side else [])])


def _of_experiment(side: Side) -> str:
    """Its state, buckets, arms, testers and outcome, as far as they are said; of a layer, what it deals."""
    parts = [str(side["state"])] if "state" in side else []
    if side.get("ramp") is not None:
        parts.append(count(side["ramp"], "live bucket"))
    if "unit" in side:
        parts.append(f"deals {side['unit']}s")
    if side.get("holdout"):
        parts.append(f"holdout of {count(side['holdout'], 'bucket')}")
    if "layer" in side:
        parts.append(f"in layer {side['layer']}")
    if "arms" in side:
        parts.append(f"arms {', '.join(str(arm['name']) for arm in side['arms'])}")
    if "overrides" in side and (side["overrides"] or "state" not in side):
        shown = ", ".join(f"{unit} has {arm}" for unit, arm in side["overrides"].items())
        parts.append(f"testers: {shown or 'none'}")
    if side.get("outcome"):
        outcome = side["outcome"]
        parts.append(": ".join(filter(None, (outcome.get("arm"), outcome["verdict"]))))
    if "arm" in side:
        parts.append(f"{side['arm']} for everybody")
    return "; ".join([*parts, *([fusion] if (fusion := _of_fusion(side)) else [])])
