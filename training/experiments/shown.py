"""Shown: what of a report is of the present comparison, and how that ended, as the audit has it.

Asks no service, knows no terminal.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

Report = Mapping[str, Any]
ENDED = {
    "experiment_decided": "decided",
    "experiment_stopped": "stopped",
    "experiment_paused": "paused",
}
"""Events of the audit after which nobody takes part."""
_CAUSE = re.compile(r"event (\d+) changed what is active")


def shown(one: Report) -> dict[str, Any]:
    """The report without looks at an earlier comparison, and without what happens next unless it runs."""
    found = {**one}
    since_ms, look = one.get("since_ms") or 0, one.get("look")
    if look is not None and look["time_ms"] < since_ms:
        found["look"] = None
    elif look is not None and one["state"] != "running":
        found["look"] = {**look, "next": ""}
    if "looks" in one:
        found["looks"] = [each for each in one["looks"] if each["time_ms"] >= since_ms]
    return found


def has_ended(one: Report) -> bool:
    """Whether the audit knows how its comparison ended."""
    return one["state"] in ("paused", "stopped")


def ended(one: Report, events: Sequence[Mapping[str, Any]]) -> str:
    """Who decided, stopped or paused it, when and why, and which arm was decided.

    Args:
        one: a report.
        events: of the audit, the newest first.

    Returns:
        a sentence; empty where these events do not have it, or the outcome says the same.
    """
    name = one["id"]
    event = next((e for e in events if e["action"] in ENDED and (e["after"] or {}).get("id") == name), None)
    if event is None or not has_ended(one):
        return ""
    outcome, what = one.get("outcome") or {}, ENDED[event["action"]]
    if what != "decided" and (outcome.get("actor"), outcome.get("why")) == (event["actor"], event["why"]):
        return ""
    when = datetime.fromtimestamp(event["time_ms"] / 1000, UTC).strftime("%Y-%m-%d %H:%M")
    arm = f" for {event['after']['arm']}" if what == "decided" and event["after"].get("arm") else ""
    why = event["why"]
    if cause := _CAUSE.fullmatch(why):
        by = next((each for each in events if each["event"] == int(cause[1])), None)
        why = "what is active changed"
        if by is not None:
            why += f": {by['action'].replace('_', ' ')} by {by['actor']}{': ' * bool(by['why'])}{by['why']}"
    return f"{what}{arm} by {event['actor']}, {when} UTC{': ' * bool(why)}{why}"
