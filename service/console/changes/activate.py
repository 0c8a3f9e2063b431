"""Activating, rolling back, taking back what was scheduled: each asks first, with what it changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from nicegui import ui

from model.client import control, experiments
from model.client.control import RefusedError
from model.errors import FulcrumError
from service.console.changes.confirm import confirm
from service.console.session import Session
from service.console.words import count, moment, version


async def activate_dialog(session: Session, number: int) -> None:
    """Ask whether to make a revision the active one, now or at a time, and do it."""
    await session.watch.look()
    revision = await _asked(session, control.revision(number))
    listed = await _asked(session, control.revisions(limit=1))
    if revision is None or listed is None or session.watch.active is None:
        return
    active = session.watch.active[0]
    if active is None:
        return

    async def do(why: str, at_ms: int | None) -> str:
        answer = await session.send(control.activate(number, if_active=active, why=why, at_ms=at_ms))
        if at_ms is not None:
            return f"Revision {number} comes into force at {moment(at_ms)}, if {active} is active then"
        return f"Revision {number} is active; before it was {answer['before']}{and_paused(answer)}"

    title = f"Activate revision {number} in place of {active}"
    await confirm(
        session,
        title,
        f"Activate {number}",
        do,
        revision=revision,
        also=await said_to_pause(session),
        drops=listed["schedule"],
        later=True,
    )


async def rollback_dialog(session: Session) -> None:
    """Ask whether to go back to the revision that was active before, and do it."""
    await session.watch.look()
    listed = await _asked(session, control.revisions(limit=1))
    if listed is None:
        return
    active, target = listed["active"], listed["before"]
    if target is None:
        _say(f"no revision was active before {active}")
        return
    revision = await _asked(session, control.revision(target))
    if revision is None:
        return

    async def do(why: str, _: int | None) -> str:
        answer = await session.send(control.rollback(if_active=active, why=why))
        return f"Rolled back from revision {answer['before']} to {answer['active']}{and_paused(answer)}"

    now, then = listed["bundle"], listed["before_bundle"]
    bundle = Markup("<p><b>The bundle goes back too</b>: from {} to {}.</p>").format(
        _named(now), _named(then)
    )
    await confirm(
        session,
        "Roll back the bundle" if active == target else f"Roll back from revision {active} to {target}",
        "Roll back",
        do,
        revision=revision,
        also=(bundle if now != then else Markup("")) + await said_to_pause(session),
        drops=listed["schedule"],
        kind="grave",
    )


async def cancel_dialog(session: Session, schedule: Mapping[str, Any]) -> None:
    """Ask whether to take back what was scheduled, and do it."""

    async def do(why: str, _: int | None) -> str:
        await session.send(control.cancel_schedule(why, if_scheduled=schedule["revision"]))
        return "Nothing is scheduled any more"

    title = f"Take back revision {schedule['revision']}, scheduled for {moment(schedule['at_ms'])}"
    await confirm(session, title, "Take it back", do, kind="grave")


async def said_to_pause(session: Session, but: str | None = None) -> Markup:
    """Which experiments a change of what is active pauses: all that run, but one that is decided by it."""
    try:
        found = await session.send(experiments.experiments())
    except FulcrumError:  # an older service, which has none; or it says so when it is asked to change
        return Markup("")
    running = [one["id"] for one in found["experiments"] if one["state"] == "running" and one["id"] != but]
    if not running:
        return Markup("")
    return Markup("<p class='note'><b>This pauses {}</b>: {}.</p>").format(
        count(len(running), "running experiment"), ", ".join(running)
    )


def and_paused(answer: Mapping[str, Any]) -> str:
    """Which experiments a change has paused, after what is said of it; nothing where there are none."""
    return f"; paused: {', '.join(answer['paused'])}" if answer["paused"] else ""


def _named(bundle: str | None) -> str:
    return "the newest" if bundle is None else version(bundle)


async def _asked(session: Session, call: control.Call) -> dict[str, Any] | None:
    """The answer; None where there is none, which is said."""
    try:
        found: dict[str, Any] = await session.send(call)
    except FulcrumError as error:
        _say(error.detail if isinstance(error, RefusedError) else str(error))
        return None
    return found


def _say(what: str) -> None:
    ui.notify(what, position="bottom", classes="said")
