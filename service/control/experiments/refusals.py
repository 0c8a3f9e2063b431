"""Refusals: why a change of experiments cannot be made as things are. Changes nothing."""

from __future__ import annotations

from datetime import UTC, datetime

from model.errors import FulcrumError, listed, shown
from model.experiments import Arm, Experiment, ExperimentError, Experiments
from service.control.fusion.revisions import Revisions
from service.control.ledger import StaleError
from service.control.state.control import Document

MOST_OPEN = 50
"""Experiments that are not stopped."""

_EVENTS_SEARCHED = 200
"""Of the audit, for who made a change that another did not know of."""


class UnknownExperimentError(FulcrumError):
    """There is no such experiment."""


class UnknownLayerError(FulcrumError):
    """There is no such layer."""


class TakenError(FulcrumError):
    """What is asked for is another's: a name, buckets, or the place of one more."""


def one_of(document: Document, name: str) -> Experiment:
    """The experiment of that id.

    Raises:
        UnknownExperimentError: there is none.
    """
    found = next((one for one in document.experiments.experiments if one.id == name), None)
    if found is None:
        raise UnknownExperimentError(
            f"there is no experiment {shown(name)}, or it was stopped long ago; see GET /v1/experiments"
        )
    return found


def expected(ledger: Revisions, document: Document, name: str, if_edition: int, *states: str) -> Experiment:
    """The experiment of that id.

    Raises:
        UnknownExperimentError: there is none.
        StaleError: it is of another edition, or in none of these states.
    """
    one = one_of(document, name)
    if one.edition != if_edition:
        raise StaleError(
            f"experiment {name} is of edition {one.edition}{_last_change(ledger, name)}, not {if_edition}; "
            "look at what changed, then try again"
        )
    if one.state not in states:
        raise StaleError(f"experiment {name} is {one.state}; expected it to be {' or '.join(states)}")
    return one


def arm_of(one: Experiment, name: str) -> Arm:
    """The arm of that name.

    Raises:
        ExperimentError: there is none.
    """
    found = next((arm for arm in one.arms if arm.name == name), None)
    if found is None:
        raise ExperimentError(
            f"experiment {one.id} has no arm {shown(name)}; it has {listed([arm.name for arm in one.arms])}"
        )
    return found


def refuse_unknown_layer(experiments: Experiments, name: str) -> None:
    """Raise UnknownLayerError where there is no layer of that name."""
    names = [layer.name for layer in experiments.layers]
    if name not in names:
        there = listed(names) if names else "none"
        raise UnknownLayerError(f"there is no layer {name}; there is {there}, see POST /v1/layers")


def refuse_taken(experiments: Experiments, draft: Experiment) -> None:
    """Raise TakenError where something of a new experiment is another's, its buckets apart."""
    open_ones = [one for one in experiments.experiments if one.state != "stopped"]
    before = next((one for one in experiments.experiments if one.id == draft.id), None)
    if before is not None:
        raise TakenError(f"there is an experiment {draft.id}, which is {before.state}; take another id")
    if len(open_ones) >= MOST_OPEN:
        raise TakenError(f"{MOST_OPEN} experiments are not stopped, which is the most; stop one of them")
    for what in ("revision", "bundle"):
        if not _names(draft, what):
            continue
        other = next((one for one in open_ones if one.layer != draft.layer and _names(one, what)), None)
        if other is not None:
            raise TakenError(
                f"arms of {other.id} in layer {other.layer} name a {what}, too, and a request may be in both "
                f"layers; stop that one, take its layer, or name none"
            )


def _names(one: Experiment, what: str) -> bool:
    return any(getattr(arm, what) is not None for arm in one.arms)


def first_bucket(experiments: Experiments, draft: Experiment, first: int | None) -> int:
    """The first bucket: the one that is asked for, or one that is free.

    Raises:
        TakenError: there are not so many free ones.
    """
    if first is None:
        try:
            return experiments.free(draft.layer, draft.size)
        except ExperimentError as error:
            raise TakenError(str(error)) from error
    last = first + draft.size - 1
    runs = experiments.free_runs(draft.layer)
    if not any(begin <= first and last <= end for begin, end in runs):
        free = ", ".join(f"{begin}-{end}" for begin, end in runs)
        raise TakenError(
            f"layer {draft.layer}: buckets {first}-{last} are not all free; free are {free or 'none'}"
        )
    return first


def _last_change(ledger: Revisions, name: str) -> str:
    """Who made it, and when, as far as the newest events of the audit say."""
    for event in ledger.store.events(None, _EVENTS_SEARCHED):
        if event.action.startswith("experiment_") and (event.after or {}).get("id") == name:
            return f" ({event.action} by {event.actor} at {time_text(event.time_ms)})"
    return ""


def time_text(time_ms: int) -> str:
    """UTC, for messages."""
    return datetime.fromtimestamp(time_ms / 1000.0, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
