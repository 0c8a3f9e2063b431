"""`fulcrum fusion activate`, `rollback` and `cancel`: what ranks, changed by who saw what will change."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import orjson
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
from service.commands.fusion_revisions import scheduled_text
from service.commands.revision_text import cut, evidence_lines, moment, plain

if TYPE_CHECKING:
    from model.client.control import Call, Control


def activate(
    number: Annotated[int, typer.Argument(metavar="N", help="The revision, as `fusion list` numbers it.")],
    why: Why,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="TIME",
            help="When, such as 2026-11-30T06:00+01:00; without an offset, by this machine's clock. At once "
            "where absent.",
        ),
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option(
            "--bundle", metavar="VERSION", help="A bundle that comes into force with it, or its beginning."
        ),
    ] = None,
    if_active: IfActive = None,
    yes: Yes = False,
    url: Url = LOCAL,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Rank by a revision, from now on or from a time on.

    Needs a token with the scope activate. First prints what will change, and asks on a terminal. Nothing is
    changed where another revision became active meanwhile. What is scheduled is dropped. All workers follow
    within a second; `fulcrum fusion rollback` goes back.

        fulcrum fusion activate 18 --why "shares count more, as estimated"
    """
    from model.client import control
    from model.client.signed_in import SignedIn

    check_why(why)
    at_ms = None if at is None else _time_ms(at)
    with SignedIn(url, token_file) as service:
        found = service.send(control.revisions(limit=1))
        active, schedule = found["active"], found["schedule"]
        if number == active and bundle is None:
            raise FulcrumError(f"revision {number} is active already: nothing was changed")
        wanted = service.send(control.revision(number))
        when = "" if at_ms is None else f" at {moment(at_ms)} UTC"
        how = when.strip() or "now"
        if bundle is not None:
            how += f", with bundle {plain(bundle)}"
        describe([f"revision {active} is active; {number}, by {plain(wanted['author'])}, would be {how}"])
        if wanted["note"]:
            describe([f"  {cut(wanted['note'], 200)}"])
        describe(f"  {line}" for line in _differences(service, active, wanted))
        if wanted["unfit"] and bundle is None:
            describe([f"it does not fit the bundle that serves: {plain(wanted['unfit'])}"])
        describe(_pauses(service) if at_ms is None else [])
        confirm(f"Activate revision {number}{when}{_and_drops(schedule, at_ms is None)}?", yes)
        call = control.activate(
            number, if_active=active if if_active is None else if_active, why=why, at_ms=at_ms, bundle=bundle
        )
        done = _changed(service, call, number)
    _printed(done, json, schedule, at_ms is not None)


def rollback(
    why: Why,
    if_active: IfActive = None,
    yes: Yes = False,
    url: Url = LOCAL,
    token_file: TokenFile = None,
    json: Json = False,
) -> None:
    """Go back to the revision that was active before this one.

    Needs a token with the scope activate. Once more, and it is the one before that: never to and fro. A
    bundle that came with the revision, or that an experiment was decided for, goes back. What is scheduled is
    dropped.

        fulcrum fusion rollback --why "complaints about long videos"
    """
    from model.client import control
    from model.client.signed_in import SignedIn

    check_why(why)
    with SignedIn(url, token_file) as service:
        found = service.send(control.revisions(limit=1))
        active, before, schedule = found["active"], found["before"], found["schedule"]
        if before is None:
            raise FulcrumError(f"revision {active} is active, and none was before it: nothing to go back to")
        stays = " would stay" if before == active else f" is active; {before} would be"
        describe([f"revision {active}{stays}"])
        describe(
            f"  {line}" for line in _differences(service, active, service.send(control.revision(before)))
        )
        back = _bundle_back(found)
        describe([f"  {back}"] if back else [])
        describe(_pauses(service))
        to = "Roll back" if before == active else f"Roll back to revision {before}"
        question = f"{to}{f', {back}' if back else ''}"
        confirm(f"{question}{_and_drops(schedule)}?", yes)
        call = control.rollback(if_active=active if if_active is None else if_active, why=why)
        done = _changed(service, call)
    _printed(done, json, schedule)


def cancel(
    why: Why, yes: Yes = False, url: Url = LOCAL, token_file: TokenFile = None, json: Json = False
) -> None:
    """Take back an activation that is to come.

    Needs a token with the scope activate. First prints what is scheduled, and asks on a terminal. Nothing is
    changed where another revision was scheduled meanwhile.

        fulcrum fusion cancel --why "the campaign is off"
    """
    from model.client import control
    from model.client.signed_in import SignedIn

    check_why(why)
    with SignedIn(url, token_file) as service:
        schedule = service.send(control.revisions(limit=1))["schedule"]
        if schedule is None:
            raise FulcrumError("nothing is scheduled: nothing was changed")
        describe([f"scheduled: {scheduled_text(schedule)}"])
        confirm(f"Cancel the activation of revision {schedule['revision']}?", yes)
        done = _changed(service, control.cancel_schedule(why, schedule["revision"]))
    if json:
        print_json(done)
    else:
        answer.print(f"nothing is scheduled; revision {done['active']} stays active", highlight=False)


def _bundle_back(found: Mapping[str, Any]) -> str:
    """What a rollback does to the bundle, besides; nothing where it stays.

    Args:
        found: the list of revisions, whose `before_bundle` an older service leaves out.
    """
    now, back = found["bundle"], found.get("before_bundle", found["bundle"])
    if now is not None and "before_bundle" not in found:
        return f"bundle {now[:19]} goes back, too, if it came with revision {found['active']}"
    names = [one[:19] if one else "the newest" for one in (now, back)]
    return "" if now == back else f"bundle {' -> '.join(names)}"


def _pauses(service: Control) -> Iterable[str]:
    """Experiments that run, which compare with what is active."""
    from model.client import experiments
    from model.client.control import RefusedError

    try:
        found = service.send(experiments.experiments()).get("experiments", ())
    except RefusedError:  # an older service has none
        return
    if running := [one["id"] for one in found if one["state"] == "running"]:
        yield f"experiments would be paused, as what they compare with changes: {listed(running)}"


def _and_drops(schedule: Mapping[str, Any] | None, at_once: bool = True) -> str:
    """Tell what becomes of a schedule; of the question, its end."""
    if schedule is None:
        return ""
    gone = "dropped" if at_once else "replaced"
    describe([f"what is scheduled would be {gone}: {scheduled_text(schedule)}"])
    return f"{', drop' if at_once else ' in place of'} the scheduled revision {schedule['revision']}"


def _differences(service: Control, active: int, wanted: dict[str, Any]) -> Iterable[str]:
    """What another revision would change of the active one; what is known of it."""
    from model.client import control
    from model.fusion import parse_fusion
    from model.fusion.changes import changes

    current = service.send(control.revision(active))
    try:
        sides = [parse_fusion(orjson.dumps(one["config"]).decode()) for one in (current, wanted)]
    except FulcrumError as error:  # of a newer service
        yield f"this version of fulcrum cannot compare them ({error})"
    else:
        yield from map(plain, changes(*sides) or ["the same config"])
    yield from map(plain, evidence_lines(wanted["evidence"] or {}))


def _changed(service: Control, call: Call, number: int | None = None) -> dict[str, Any]:
    """The service's answer to a change; where it came too late, the error says what to do."""
    from model.client import control
    from model.client.control import RefusedError

    try:
        done: dict[str, Any] = service.send(call)
    except RefusedError as error:
        expected = (call.body or {}).get("if_active")
        if error.status != 409 or expected is None:
            raise
        active = service.send(control.revisions(limit=1))["active"]
        if active == expected:
            raise
        if number == active:
            raise FulcrumError(f"{error}: revision {active} is active already") from None
        look = (
            f"`fulcrum fusion diff {expected} {active}` shows that"
            if _exists(service, expected)
            else f"there is no revision {expected}"
        )
        raise FulcrumError(f"{error}: {look}, --if-active {active} does it all the same") from None
    return done


def _exists(service: Control, number: int) -> bool:
    from model.client import control
    from model.client.control import RefusedError

    try:
        service.send(control.revision(number))
    except RefusedError as error:
        if error.status != 404:
            raise
        return False
    return True


def _printed(
    done: dict[str, Any], json: bool, earlier: Mapping[str, Any] | None, to_come: bool = False
) -> None:
    """Print what was done.

    Args:
        done: the service's answer.
        json: whether to print that.
        earlier: what was scheduled before.
        to_come: whether something was scheduled, rather than done at once.
    """
    if json:
        print_json(done)
        return
    if to_come:
        lines = [
            f"scheduled: {scheduled_text(done['scheduled'])}",
            f"revision {done['active']} stays active until then",
        ]
    else:
        lines = [f"revision {done['active']} is active; before, it was {done['before']}"]
        if paused := done.get("paused"):  # an older service leaves it out
            lines.append(f"paused: {listed(paused)}; `fulcrum experiment start` goes on")
        if scheduled := done["scheduled"]:
            lines.append(f"still scheduled: {scheduled_text(scheduled)}")
        elif earlier:
            lines.append(f"no longer scheduled: {scheduled_text(earlier)}")
    for line in lines:
        answer.print(line, highlight=False, markup=False, soft_wrap=True)


def _time_ms(text: str) -> int:
    """A time to come as Unix time, milliseconds."""
    try:
        when = datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        raise FulcrumError(
            f"--at {plain(text)}: expected a time such as 2026-11-30T06:00+01:00 or 2026-11-30T05:00Z"
        ) from None
    now = datetime.now(UTC)
    if when <= now:
        raise FulcrumError(
            f"--at {plain(text)}: this is not in the future (it is {now:%Y-%m-%d %H:%M} UTC); leave it out "
            "to activate at once"
        )
    return int(when.timestamp() * 1000)
