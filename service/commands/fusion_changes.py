"""`fulcrum fusion activate`, `rollback` and `cancel`: what ranks, changed by who saw what will change."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from model.errors import FulcrumError
from model.terminal import LOCAL, Json, TokenFile, Url, answer, print_json, progress
from service.commands.fusion_revisions import standing
from service.commands.revision_text import cut, evidence_lines, moment, plain

if TYPE_CHECKING:
    from model.client.control import Call, Control

Why = Annotated[str, typer.Option("--why", help="The reason, for the audit.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask; a pipe is never asked.")]
IfActive = Annotated[
    int | None,
    typer.Option(
        "--if-active",
        metavar="M",
        help="Only if this revision is active; the one that is active now where absent.",
        show_default=False,
    ),
]


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
    changed where another revision became active meanwhile. All workers follow within a second;
    `fulcrum fusion rollback` goes back.

        fulcrum fusion activate 18 --why "shares count more, as estimated"
    """
    from model.client import control
    from model.client.signed_in import SignedIn

    at_ms = None if at is None else _time_ms(at)
    with SignedIn(url, token_file) as service:
        active = service.send(control.revisions(limit=1))["active"]
        wanted = service.send(control.revision(number))
        how = "now" if at_ms is None else f"at {moment(at_ms)} UTC"
        if bundle is not None:
            how += f", with bundle {plain(bundle)}"
        _told([f"revision {active} is active; {number}, by {plain(wanted['author'])}, would be {how}"])
        if wanted["note"]:
            _told([f"  {cut(wanted['note'], 200)}"])
        _told(f"  {line}" for line in _differences(service, active, wanted))
        if wanted["unfit"] and bundle is None:
            _told([f"it does not fit the bundle that serves: {plain(wanted['unfit'])}"])
        _asked(f"Activate revision {number}?", yes)
        call = control.activate(
            number, if_active=active if if_active is None else if_active, why=why, at_ms=at_ms, bundle=bundle
        )
        done = _changed(service, call, number)
    _printed(done, json)


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
    bundle that came with the revision goes back with it.

        fulcrum fusion rollback --why "complaints about long videos"
    """
    from model.client import control
    from model.client.signed_in import SignedIn

    with SignedIn(url, token_file) as service:
        found = service.send(control.revisions(limit=1))
        active, before = found["active"], found["before"]
        if before is None:
            raise FulcrumError(f"revision {active} is active, and none was before it: nothing to go back to")
        _told([f"revision {active} is active; {before} would be"])
        _told(f"  {line}" for line in _differences(service, active, service.send(control.revision(before))))
        _asked("Roll back?", yes)
        call = control.rollback(if_active=active if if_active is None else if_active, why=why)
        done = _changed(service, call)
    _printed(done, json)


def cancel(why: Why, url: Url = LOCAL, token_file: TokenFile = None, json: Json = False) -> None:
    """Take back an activation that is to come.

    Needs a token with the scope activate.

        fulcrum fusion cancel --why "the campaign is off"
    """
    from model.client import control
    from model.client.signed_in import SignedIn

    with SignedIn(url, token_file) as service:
        found = service.send(control.revisions(limit=1))
        _told(standing({**found, "bundle": None}))
        done = _changed(service, control.cancel_schedule(why))
    if json:
        print_json(done)
    else:
        answer.print(f"nothing is scheduled; revision {done['active']} stays active", highlight=False)


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


def _told(lines: Iterable[str]) -> None:
    for line in lines:
        progress.print(line, highlight=False, markup=False, soft_wrap=True)


def _asked(question: str, yes: bool) -> None:
    """Ask a person; who says no ends the command."""
    if not yes and sys.stdin.isatty() and not typer.confirm(question, err=True):
        progress.print("nothing was changed")
        raise typer.Exit(1)


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
        look = f"`fulcrum fusion diff {expected} {active}`"
        again = f"--if-active {active}"
        raise FulcrumError(
            f"{error}: {look} shows that, {again} does it all the same"
            if number != active
            else f"{error}: revision {active} is active already"
        ) from None
    return done


def _printed(done: dict[str, Any], json: bool) -> None:
    if json:
        print_json(done)
    elif scheduled := done["scheduled"]:
        lines = standing({"schedule": scheduled, "bundle": None})
        answer.print(
            f"{lines[0]}\nrevision {done['active']} stays active until then",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    else:
        answer.print(f"revision {done['active']} is active; before, it was {done['before']}", highlight=False)


def _time_ms(text: str) -> int:
    """A time as Unix time, milliseconds."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise FulcrumError(
            f"--at {plain(text)}: expected a time such as 2026-11-30T06:00+01:00 or 2026-11-30T05:00Z"
        ) from None
    return int(when.astimezone(UTC).timestamp() * 1000)
