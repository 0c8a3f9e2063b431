"""Experiments and layers of a service, as its callers see them: a function for each `Call`, as in `control`.

Each change names the edition of the experiment that its caller has seen; another one is refused with 409.
Knows only the HTTP contract.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from model.client.control import Call


def layers() -> Call:
    """`{layers: [{name, unit, holdout, salt, free}]}`; the salt is null without the scope `read`."""
    return Call("/v1/layers")


def create_layer(
    name: str, *, unit: str = "user", holdout: int = 0, salt: str | None = None, why: str = ""
) -> Call:
    """A layer, for good; the answer is the layer.

    Args:
        name: of the layer.
        unit: what it deals into buckets: user, session or request.
        holdout: buckets of 10,000 whose units are in no experiment of it, ever.
        salt: of its hashes; the service draws one where None.
        why: for the audit.
    """
    body: dict[str, Any] = {"name": name, "unit": unit, "holdout": holdout, "why": why}
    return Call("/v1/layers", body if salt is None else {**body, "salt": salt})


def experiments() -> Call:
    """`{layers, experiments}`, the newest first, each with its newest `look`, and why it `waits`."""
    return Call("/v1/experiments")


def experiment(name: str) -> Call:
    """One experiment with all its `looks`, the oldest first."""
    return Call(f"/v1/experiments/{name}")


def create(body: Mapping[str, Any]) -> Call:
    """An experiment, which is a draft; the answer is the experiment.

    Args:
        body: `{id, layer, arms, size, first?, ramp?, scenes?, when?, overrides?, start_ms?, stop_ms?, note?,
            terms?, ramps?, on_better?}`, as docs/service.md has it.
    """
    return Call("/v1/experiments", body)


def start(name: str, *, if_edition: int, why: str) -> Call:
    """Begin a comparison. The answer is the experiment, as that of all changes."""
    return _change(name, "start", if_edition, why)


def pause(name: str, *, if_edition: int, why: str, outcome: Mapping[str, Any] | None = None) -> Call:
    """Give everybody what is active, until the next start.

    Args:
        name: of the experiment.
        if_edition: its present edition.
        why: for the audit.
        outcome: `{verdict, arm}`: better, worse or inconclusive, and of which arm; None for none.
    """
    return _change(name, "pause", if_edition, why, outcome=outcome)


def stop(name: str, *, if_edition: int, why: str, outcome: Mapping[str, Any] | None = None) -> Call:
    """End it for good; arguments as for `pause`."""
    return _change(name, "stop", if_edition, why, outcome=outcome)


def ramp(name: str, *, if_edition: int, to: int, why: str) -> Call:
    """Have this number of its buckets live, which is more than now."""
    return _change(name, "ramp", if_edition, why, ramp=to)


def override(name: str, *, if_edition: int, unit: str, arm: str | None, why: str) -> Call:
    """Give a tester an arm, or none any more."""
    call = _change(name, "override", if_edition, why)
    return Call(call.path, {**(call.body or {}), "unit": unit, "arm": arm})


def decide(
    name: str,
    *,
    if_edition: int,
    if_active: int,
    arm: str,
    why: str,
    outcome: Mapping[str, Any] | None = None,
) -> Call:
    """Stop it, and give everybody what an arm has; of the control, just stop it.

    Args:
        name: of the experiment.
        if_edition: its present edition.
        if_active: the revision that must be active for it to happen.
        arm: whose revision, or patch as a new revision, and bundle become active.
        why: for the audit.
        outcome: as for `pause`.
    """
    return _change(name, "decide", if_edition, why, if_active=if_active, arm=arm, outcome=outcome)


def look(name: str, seen: Mapping[str, Any]) -> Call:
    """Publish what was seen of it: `model.experiments.LookReport` as JSON. The answer is empty."""
    return Call(f"/v1/experiments/{name}/look", {"look": seen})


def _change(name: str, verb: str, if_edition: int, why: str, **more: Any) -> Call:
    given = {key: value for key, value in more.items() if value is not None}
    return Call(f"/v1/experiments/{name}/{verb}", {"if_edition": if_edition, "why": why, **given})
