"""Activating, rolling back, taking back what was scheduled: each asks first, with what it changes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from model.client import control
from model.client.control import RefusedError
from model.errors import FulcrumError
from service.console.changes.confirm import confirm
from service.console.session import Session
from service.console.words import moment


async def activate_dialog(session: Session, number: int) -> None:
    """Ask whether to make a revision the active one, now or at a time, and do it."""
    revision = await _fetched(session, number)
    active = _active(session)
    if revision is None or active is None:
        return

    async def do(why: str, at_ms: int | None) -> str:
        answer = await session.send(control.activate(number, if_active=active, why=why, at_ms=at_ms))
        if answer.get("scheduled"):
            return f"Revision {number} comes into force at {moment(at_ms)}, if {active} is active then"
        return f"Revision {number} is active; before it was {answer['before']}"

    title = f"Activate revision {number} in place of {active}"
    await confirm(session, title, f"Activate {number}", do, revision=revision, later=True)


async def rollback_dialog(session: Session, target: int | None) -> None:
    """Ask whether to go back to the revision that was active before, and do it.

    Args:
        session: of the tab.
        target: the revision that it leads to; None where that is not known.
    """
    active = _active(session)
    revision = await _fetched(session, target) if target is not None else None
    if active is None or (target is not None and revision is None):
        return

    async def do(why: str, _: int | None) -> str:
        answer = await session.send(control.rollback(if_active=active, why=why))
        return f"Rolled back from revision {answer['before']} to {answer['active']}"

    to = f"to {target}" if target is not None else "to the one before it"
    await confirm(
        session, f"Roll back from revision {active} {to}", "Roll back", do, revision=revision, kind="grave"
    )


async def cancel_dialog(session: Session, schedule: Mapping[str, Any]) -> None:
    """Ask whether to take back what was scheduled, and do it."""

    async def do(why: str, _: int | None) -> str:
        await session.send(control.cancel_schedule(why))
        return "Nothing is scheduled any more"

    title = f"Take back revision {schedule['revision']}, scheduled for {moment(schedule['at_ms'])}"
    await confirm(session, title, "Take it back", do, kind="grave")


def _active(session: Session) -> int | None:
    active = session.watch.active
    return None if active is None else active[0]


async def _fetched(session: Session, number: int) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = await session.send(control.revision(number))
    except FulcrumError as error:
        ui.notify(
            error.detail if isinstance(error, RefusedError) else str(error), position="bottom", classes="said"
        )
        return None
    return found
