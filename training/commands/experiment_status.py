"""`fulcrum experiment list` and `status`: what runs, and what is known of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from model.terminal import LOCAL, Json, TokenFile, Url, answer, extra, print_json, print_table
from training.commands.experiment_text import (
    PLAIN,
    guardrail_rows,
    head,
    intervals,
    layer_line,
    looked,
    metric_rows,
    notes,
    ordered,
    outcome_text,
    part,
    plain,
)
from training.commands.fusion_diff_text import moment

if TYPE_CHECKING:
    from model.client.control import Control

_MOST = 80
_EVENTS = 100
"""Of the audit that are read."""


def list_(
    everything: Annotated[bool, typer.Option("--all", help="Stopped ones, too.")] = False,
    url: Url = LOCAL,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """List layers and experiments, the newest first.

    fulcrum experiment list --all
    """
    from model.client import experiments
    from model.client.signed_in import SignedIn
    from training.experiments.shown import shown

    with SignedIn(url, token_file) as service:
        found = service.send(experiments.experiments())
        every = [shown(one) for one in found["experiments"]]
        listed = [one for one in every if everything or one["state"] != "stopped"]
        events = [] if json else _events(service, listed)
    if json:
        print_json(found)
        return
    for layer in found["layers"]:
        answer.print(layer_line(layer), **PLAIN)
    rows = [
        (one["id"], one["state"], one["layer"], part(one["ramp"]), part(one["size"]), _standing(one, events))
        for one in listed
    ]
    if rows:
        print_table(_narrow(), ("experiment", "state", "layer", "live", "of", "what is said"), rows, 1)
    hidden = len(every) - len(listed)
    if hidden:
        answer.print(f"stopped: {hidden}; --all shows them", **PLAIN)
    elif not rows:
        answer.print("no experiments; `fulcrum experiment create` makes one", **PLAIN)


def status(
    name: Annotated[str, typer.Argument(metavar="ID", help="The experiment.")],
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", metavar="DIR", help="Also write a page there: DIR/index.html.", show_default=False
        ),
    ] = None,
    url: Url = LOCAL,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Say what is known of an experiment: verdicts, intervals over time, guardrails, what happens next.

    Intervals hold at all looks at once: you may look whenever you like. A verdict is of the primary metric
    and of the guardrails; the others are shown and decide nothing. --report writes one page that needs
    nothing else.

        fulcrum experiment status more_shares --report build/more_shares
    """
    from model.client import experiments
    from model.client.signed_in import SignedIn
    from training.experiments.shown import ended, shown

    with SignedIn(url, token_file) as service:
        found = service.send(experiments.experiment(name))
        how = ended(found, _events(service, [found]))
    if report is not None:
        with extra("report"):
            from training.report.page.experiment import write_experiment_page
        write_experiment_page(found, report, how)
    if json:
        print_json(found)
        return
    _print(shown(found), how)
    if report is not None:
        answer.print(f"report {report / 'index.html'}", **PLAIN)


def _events(service: Control, reports: Iterable[Mapping[str, Any]]) -> list[Any]:
    """The audit's newest events where any of these has ended and the token may read them."""
    from model.client import control
    from model.client.control import RefusedError
    from training.experiments.shown import has_ended

    if not any(has_ended(one) for one in reports):
        return []
    try:
        return list(service.send(control.audit(limit=_EVENTS))["events"])
    except RefusedError:
        return []


def _print(found: Mapping[str, Any], how: str) -> None:
    console = _narrow()
    for line in head(found):
        console.print(line, highlight=False, markup=False)
    if how:
        console.print(f"  {plain(how)}", highlight=False, markup=False)
    if found.get("since_ms"):
        console.print(f"  since {moment(found['since_ms'])} UTC", highlight=False)
    if found.get("look"):
        console.print(f"\n{looked(found)}", highlight=False, markup=False)
        if rows := list(metric_rows(found)):
            print_table(console, ("metric", "arm", "value", "difference", "95 %, at any look"), rows, 2)
        else:
            console.print("no metric is known yet: they wait for complete feedback", highlight=False)
        if rows := list(guardrail_rows(found)):
            print_table(console, ("guardrail", "arm", "by the control", "e-value", "says"), rows, 2)
        _print_picture(found, console)
    for line in notes(found):
        console.print(line, highlight=False, markup=False)


def _print_picture(found: Mapping[str, Any], console: Console) -> None:
    """The primary metric's interval over time."""
    if len(found["looks"]) < 2:
        return
    control = found["arms"][0]["name"]
    for metric, arms in ordered(found)[:1]:
        for arm in arms:
            if arm != control:
                for line in intervals(found["looks"], metric, arm):
                    console.print(line, highlight=False, markup=False)


def _standing(one: Mapping[str, Any], events: list[Any]) -> str:
    """What is said of an experiment, in a few words."""
    if one.get("waits"):
        return f"waits: {plain(one['waits'], 40)}"
    from training.experiments.shown import ended

    how = ended(one, events)
    if how.startswith("decided") or (how and not one.get("outcome")):
        return plain(how, 40)
    if one.get("outcome"):
        return plain(outcome_text({**one["outcome"], "why": "", "actor": ""}), 40)
    if one["state"] == "running" and one.get("terms") and not one.get("look"):
        return "nobody has looked since it was started"
    if one["state"] == "running" and one.get("look"):
        said = [
            f"{arm}: {found['verdict']}"
            for arm, found in one["look"].get("verdicts", {}).items()
            if found["verdict"]
        ]
        return plain("; ".join(said) or f"day {one['look']['days']:.1f}, none yet", 40)
    return plain(one["note"], 40)


def _narrow() -> Console:
    """The terminal, at most 80 columns wide."""
    return Console(width=min(_MOST, answer.width))
