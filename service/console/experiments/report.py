"""One experiment as tables: its arms, the plan of its ramp, metrics and guardrails. Knows no page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from model.errors import FulcrumError
from model.experiments import BUCKETS
from model.fusion import patched
from model.fusion.changes import changes
from service.console.changes.confirm import lines_of
from service.console.experiments.words import (
    Report,
    confidence,
    ends,
    is_live,
    live,
    metrics_of,
    part,
    steps,
    verdicts,
    what_it_has,
)
from service.console.play.impact import table
from service.console.session import parsed
from service.console.words import NOTHING, count, moment, number, signed_percent


def summary(one: Report, unit: str) -> Markup:
    """Where it stands, and what is said of it."""
    only = [f"scenes {', '.join(one['scenes'])}"] if one["scenes"] else []
    only += ["requests that a condition holds of"] if one["when"] else []
    facts = [
        ("state", f"{one['state']}, edition {one['edition']}"),
        ("live", live(one, unit) if is_live(one) else f"nothing; {live(one, unit)} once it runs"),
        ("compares since", moment(one["since_ms"])),
        ("made by", f"{one['author']} at {moment(one['created_ms'])}"),
        *([("only", " and ".join(only))] if only else []),
        *([("from", moment(one["start_ms"]))] if one["start_ms"] is not None else []),
        *([("until", moment(one["stop_ms"]))] if one["stop_ms"] is not None else []),
        *([("testers", count(len(one["overrides"]), "override"))] if one["overrides"] else []),
    ]
    note = Markup('<p class="note"><bdi>{}</bdi></p>').format(one["note"]) if one["note"] else Markup("")
    waits = Markup("")
    if one["waits"]:
        waits = Markup('<p class="bad-text note">The worker that was asked does not serve it: {}</p>').format(
            one["waits"]
        )
    return Markup('{}{}<dl class="facts-of">{}</dl><div class="said-of">{}</div>').format(
        note,
        waits,
        Markup("").join(Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(*fact) for fact in facts),
        Markup("").join(Markup('<p class="note">{}</p>').format(line) for line in verdicts(one)),
    )


def arms(one: Report, config: Mapping[str, Any] | None) -> Markup:
    """What each arm is; of a patch, what it changes in the config in force."""
    seen = (one["look"] or {}).get("units", {})
    rows = [
        (
            Markup('<bdi>{}</bdi> <span class="muted">{}</span>').format(
                arm["name"], "" if at or arm["name"] == "control" else "control"
            ),
            Markup("{}{}").format(what_it_has(arm), _patch(arm, config)),
            part(arm["share"]),
            part(arm["share"] / BUCKETS * one["ramp"]),
            f"{seen[arm['name']]:,}" if arm["name"] in seen else NOTHING,
        )
        for at, arm in enumerate(one["arms"])
    ]
    return table("Arms", ("arm", "what it has", "share", "of all", "units so far"), rows, names=2)


def _patch(arm: Mapping[str, Any], config: Mapping[str, Any] | None) -> Markup:
    if arm["patch"] is None or config is None:
        return Markup("")
    try:
        base = parsed(config)
        return lines_of(changes(base, patched(base, arm["patch"])) or ["nothing: the same config"], 12)
    except FulcrumError as error:
        return Markup('<p class="bad-text note">{}</p>').format(error)


def plan(one: Report) -> Markup:
    """The steps of its ramp; empty where none are planned."""
    if not one["ramps"]:
        return Markup("")
    return table("Plan of its ramp", ("step", ""), steps(one), names=2)


def metrics(one: Report) -> Markup:
    """The newest look's metrics, the primary first."""
    look = one["look"]
    if look is None or not look["metrics"]:
        return Markup("")
    primary = (one["terms"] or {}).get("primary")
    rows = []
    for name in metrics_of(one, [look]):
        for arm, found in look["metrics"][name].items():
            rows.append(
                (
                    Markup('<bdi>{}</bdi> <span class="muted">{}</span>').format(
                        name, "primary" if name == primary else ""
                    ),
                    arm,
                    number(found.get("value"), 4),
                    signed_percent(found.get("difference"), 2),
                    ends(found.get("low"), found.get("high")),
                )
            )
    until = f", of impressions until {moment(look['mature_until_ms'])}" if look["mature_until_ms"] else ""
    source = Markup('<p class="source">As of {}{}. Intervals are {}.</p>').format(
        moment(look["time_ms"]), until, confidence(one)
    )
    headers = ("metric", "arm", "value", "difference", "interval")
    return table("Metrics", headers, rows, names=2) + source


def guardrails(one: Report) -> Markup:
    """The newest look's guardrails."""
    look = one["look"]
    if look is None or not look["guardrails"]:
        return Markup("")
    rows = [
        (
            name,
            arm,
            Markup('<span class="down">alarm</span>') if found["alarm"] else "none",
            number(found["ratio"]),
            number(found.get("e_value")),
        )
        for name, of_arms in look["guardrails"].items()
        for arm, found in of_arms.items()
    ]
    return table("Guardrails", ("metric", "arm", "alarm", "ratio", "e-value"), rows, names=3)
