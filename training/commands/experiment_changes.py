"""`fulcrum experiment start`, `ramp`, `pause`, `stop`, `decide` and `override`: changed by who saw what will
change."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from model.errors import FulcrumError, listed
from model.terminal import (
    LOCAL,
    IfActive,
    Json,
    TokenFile,
    Url,
    Why,
    Yes,
    answer,
    check_why,
    confirm,
    describe,
    print_json,
)
from training.commands.experiment_text import PLAIN, arm_text, head, part, plain, ramp_text, traffic
from training.commands.fusion_diff_text import moment

if TYPE_CHECKING:
    from model.client.control import Call, Control

Id = Annotated[str, typer.Argument(metavar="ID", help="The experiment.")]
IfEdition = Annotated[
    int | None,
    typer.Option(
        "--if-edition",
        metavar="N",
        help="Only if this is its edition; the present one where absent.",
        show_default=False,
    ),
]
Report = dict[str, Any]


def start(
    name: Id,
    why: Why,
    if_edition: IfEdition = None,
    yes: Yes = False,
    url: Url = LOCAL,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Let requests take part, or go on after a pause: a new comparison begins.

    Needs a token with the scope activate. First prints what will change, and asks on a terminal. While
    anything runs, the bundle that serves stays, whatever is published.

        fulcrum experiment start more_shares --why "the estimate says +2 %"
    """
    from model.client import experiments

    def described(one: Report, unit: str) -> Iterator[str]:
        yield from _sides(one, unit)
        if one.get("outcome"):
            yield "  the last comparison's outcome is given up, and what was seen until now does not count"
        if one.get("start_ms") and one["start_ms"] > _now_ms():
            yield f"  requests take part from {moment(one['start_ms'])} UTC on"
        if one.get("terms") is None:
            yield "  it has no terms: nobody judges it but people"

    _change(
        name,
        (url, token_file, yes, json, why, if_edition),
        described,
        lambda one: f"Start {one['id']}, for {part(one['ramp'])} of {one['layer']}?",
        lambda edition: experiments.start(name, if_edition=edition, why=why),
    )


def ramp(
    name: Id,
    to: Annotated[
        str, typer.Argument(metavar="PART", help="Buckets that shall be live: 1000, or 10% of the layer.")
    ],
    why: Why,
    if_edition: IfEdition = None,
    yes: Yes = False,
    url: Url = LOCAL,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Let more of its buckets take part. A ramp only adds units, and keeps the ratio of arms.

    Needs a token with the scope activate. To take units away, pause it.

        fulcrum experiment ramp more_shares 20% --why "a day without alarms"
    """
    from model.client import experiments
    from training.experiments.described import parts

    buckets = parts(to, "PART")
    _change(
        name,
        (url, token_file, yes, json, why, if_edition),
        lambda one, unit: traffic(one, buckets, unit),
        lambda one: f"Ramp {one['id']} to {part(buckets)} of {one['layer']}?",
        lambda edition: experiments.ramp(name, if_edition=edition, to=buckets, why=why),
    )


def pause(
    name: Id,
    why: Why,
    if_edition: IfEdition = None,
    yes: Yes = False,
    url: Url = LOCAL,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Give everybody what is active. Buckets and arms are kept; `start` begins a new comparison.

    Needs a token with the scope activate. All workers follow within a second.

        fulcrum experiment pause more_shares --why "complaints"
    """
    from model.client import experiments

    _change(
        name,
        (url, token_file, yes, json, why, if_edition),
        _to_active,
        lambda one: f"Pause {one['id']}?",
        lambda edition: experiments.pause(name, if_edition=edition, why=why),
    )


def stop(
    name: Id,
    why: Why,
    if_edition: IfEdition = None,
    yes: Yes = False,
    url: Url = LOCAL,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """End an experiment: everybody gets what is active, and its buckets are free again.

    Needs a token with the scope activate. It cannot be started again; `decide` ends one by making an arm's
    bundle and fusion active.

        fulcrum experiment stop more_shares --why "the idea is given up"
    """
    from model.client import experiments

    _change(
        name,
        (url, token_file, yes, json, why, if_edition),
        _to_active,
        lambda one: f"Stop {one['id']} for good?",
        lambda edition: experiments.stop(name, if_edition=edition, why=why),
    )


def decide(
    name: Id,
    arm: Annotated[str, typer.Argument(metavar="ARM", help="What everybody shall get.")],
    why: Why,
    if_edition: IfEdition = None,
    if_active: IfActive = None,
    yes: Yes = False,
    url: Url = LOCAL,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """End an experiment and make what an arm has active, for everybody; the control: just stop.

    Needs a token with the scope activate. A patch becomes a new revision; other experiments that run are
    paused, as what they compare with changes. `fulcrum fusion rollback` goes back.

        fulcrum experiment decide more_shares more --why "+1.9 % [+0.3 %, +3.5 %]"
    """
    from model.client import control, experiments
    from model.client.signed_in import SignedIn
    from training.experiments.shown import shown

    check_why(why)
    with SignedIn(url, token_file) as service:
        one = shown(service.send(experiments.experiment(name)))
        chosen = _arm(one, arm)
        listed_ = service.send(control.revisions(limit=1))
        others = [
            each["id"]
            for each in service.send(experiments.experiments())["experiments"]
            if each["state"] == "running" and each["id"] != name
        ]
        is_control = arm == one["arms"][0]["name"]
        describe(head(one))
        describe([f"  all requests would get {arm_text(chosen)}; revision {listed_['active']} is active now"])
        if others and not is_control:
            describe([f"  would be paused, as what they compare with changes: {listed(others)}"])
        said = (one.get("look") or {}).get("verdicts", {}).get(arm)
        if said is not None and said["verdict"] != "better":
            describe([f"  {arm} was not found better: {plain(said['why'])}"])
        confirm(f"Stop {name}{'' if is_control else f' and give everybody {arm}'}?", yes)
        call = experiments.decide(
            name,
            arm=arm,
            if_edition=one["edition"] if if_edition is None else if_edition,
            if_active=listed_["active"] if if_active is None else if_active,
            why=why,
        )
        done = _sent(service, call, name)
        active = service.send(control.revisions(limit=1))["active"]
    if json:
        print_json(done)
        return
    answer.print(f"{name} is stopped; revision {active} is active", **PLAIN)
    if done["paused"]:
        answer.print(f"paused: {listed(done['paused'])}; `fulcrum experiment start` goes on", **PLAIN)


def override(
    name: Id,
    unit: Annotated[str, typer.Argument(metavar="UNIT", help="Whose: a user, session or exposure id.")],
    arm: Annotated[
        str | None, typer.Argument(metavar="[ARM]", help="What it gets; none takes the override back.")
    ] = None,
    why: Annotated[str, typer.Option("--why", help="The reason, for the audit.")] = "a tester",
    if_edition: IfEdition = None,
    yes: Yes = False,
    url: Url = LOCAL,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Give one unit an arm, such as a tester's user, whatever its bucket; in a draft, too.

    Needs a token with the scope activate. Such requests count in no statistic.

        fulcrum experiment override more_shares u12 more --why "to see it on my phone"
    """
    from model.client import experiments

    def described(one: Report, of: str) -> Iterator[str]:
        if arm is not None:
            _arm(one, arm)
        before = (one["overrides"] or {}).get(unit, "no override")
        yield f"  {of} {plain(unit)}: {before} -> {arm or 'no override'}"

    _change(
        name,
        (url, token_file, yes, json, why, if_edition),
        described,
        lambda one: f"Change the arm of one {'unit'} of {one['id']}?",
        lambda edition: experiments.override(name, if_edition=edition, unit=unit, arm=arm, why=why),
    )


def _change(
    name: str,
    how: tuple[str, Any, bool, bool, str, int | None],
    described: Callable[[Report, str], Iterable[str]],
    question: Callable[[Report], str],
    call: Callable[[int], Call],
) -> None:
    """Read the present edition, print what would change, ask, and do it.

    Args:
        name: of the experiment.
        how: address, file of the token, whether not to ask, whether to print JSON, why, expected edition.
        described: what changes, of the present report and the unit of its layer.
        question: of the present report.
        call: of the edition that must still be there.
    """
    from model.client import experiments
    from model.client.signed_in import SignedIn

    url, token_file, yes, json, why, if_edition = how
    check_why(why)
    with SignedIn(url, token_file) as service:
        one = service.send(experiments.experiment(name))
        layers = service.send(experiments.layers())["layers"]
        unit = next((each["unit"] for each in layers if each["name"] == one["layer"]), "unit")
        lines = [f"{name} is {one['state']}: {ramp_text(one)}", *described(one, unit)]
        describe(lines)
        confirm(question(one), yes)
        done = _sent(service, call(one["edition"] if if_edition is None else if_edition), name)
    if json:
        print_json(done)
        return
    for line in head(done):
        answer.print(line, **PLAIN)


def _sides(one: Report, unit: str) -> Iterator[str]:
    for arm in one["arms"]:
        share = part(arm["share"] / 10_000 * one["ramp"])
        yield f"  {arm['name']}: {share} of all {unit}s; {arm_text(arm)}"


def _to_active(one: Report, unit: str) -> Iterator[str]:
    yield f"  {part(one['ramp'])} of all {unit}s would get what is active, as all others do"


def _arm(one: Report, name: str) -> dict[str, Any]:
    found: dict[str, Any] | None = next((arm for arm in one["arms"] if arm["name"] == name), None)
    if found is None:
        raise FulcrumError(
            f"experiment {one['id']} has no arm {name!r}; there is "
            f"{listed(arm['name'] for arm in one['arms'])}"
        )
    return found


def _sent(service: Control, call: Call, name: str) -> Report:
    """The service's answer to a change; where it came too late, the error says what to do."""
    from model.client.control import RefusedError

    try:
        done: Report = service.send(call)
    except RefusedError as error:
        if error.status != 409:
            raise
        raise FulcrumError(f"{error}; `fulcrum experiment status {name}` shows how it is now") from None
    return done


def _now_ms() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)
