"""History: revisions with their differences, what is scheduled, and the audit."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup
from nicegui import ui

from model.client import control
from model.client.control import RefusedError
from model.errors import FulcrumError
from service.console.changes.activate import activate_dialog, cancel_dialog, rollback_dialog
from service.console.changes.confirm import lines_of
from service.console.changes.event import sides, subject
from service.console.elements import button, cell, heading, html, panel, soon
from service.console.play.impact import table
from service.console.session import Session, differences
from service.console.words import moment, version

_PAGE = 30


class History:
    """The page of revisions.

    Args:
        session: of the tab.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._rows: list[dict[str, Any]] = []
        with panel("Revisions"):
            with ui.element("div").classes("bar"):
                self._rollback = button("Roll back ...", self._roll_back, "grave")
                self._reason = ui.label().classes("reason")
                self._rollback.props["aria-describedby"] = self._reason.html_id
            self._schedule = ui.element("div")
            self._problem = ui.label().classes("bad-text note").props("role=alert")
            self._list = ui.element("div")
            self._more = button("Older", self._older)
        session.on_change.append(soon(self.load))
        session.on_actor.append(self._draw)
        self._answer: dict[str, Any] = {}
        self._draw()

    async def load(self) -> None:
        """The newest revisions."""
        await self._read([])

    async def _older(self) -> None:
        await self._read(self._rows)

    async def _read(self, known: list[dict[str, Any]]) -> None:
        """The page after those that are known."""
        before = known[-1]["revision"] if known else None
        try:
            self._answer = await self._session.send(control.revisions(before, _PAGE))
        except FulcrumError as error:
            self._problem.set_text(_why(error))
            self._draw()
            return
        self._problem.set_text("")
        self._rows = [*known, *self._answer["revisions"]]
        self._draw()

    def _draw(self) -> None:
        session, answer = self._session, self._answer
        self._list.clear()
        self._schedule.clear()
        self._more.set_visibility(bool(answer.get("more")))
        target = answer.get("before")
        to = f" to {target}" if target is not None else ""
        active = answer.get("active")
        self._rollback.set_text(f"Roll back from {active}{to} ..." if active is not None else "Roll back ...")
        reason = session.why_not("activate")
        self._rollback.set_enabled(reason is None and target is not None)
        self._reason.set_text(reason or ("" if target or not answer else "no revision was active before"))
        schedule = answer.get("schedule")
        if schedule:
            with self._schedule, ui.element("div").classes("bar"):
                says = Markup(
                    "Scheduled by <bdi>{}</bdi>: revision {} at {}, if {} is active then. <bdi>{}</bdi>"
                )
                when, on = moment(schedule["at_ms"]), schedule["if_active"]
                html(says.format(schedule["actor"], schedule["revision"], when, on, schedule["why"]), "note")
                button("Take back ...", lambda: cancel_dialog(session, schedule), "grave").set_enabled(
                    reason is None
                )
        with self._list:
            if not self._rows:
                ui.label("No revisions to show yet.").classes("empty")
                return
            with ui.element("div").classes("scroll").props('tabindex=0 role=region aria-label="Revisions"'):
                self._table(reason)

    def _table(self, reason: str | None) -> None:
        with ui.element("table").classes("blocks"):
            html("Newest first", "hidden").props("tag=caption")
            with ui.element("thead"), ui.element("tr"):
                for title in ("revision", "note and changes since its parent", "by", ""):
                    cell("th", title).props["scope"] = "col"
            with ui.element("tbody"):
                for one in self._rows:
                    self._row(one, reason)

    def _row(self, one: dict[str, Any], reason: str | None) -> None:
        number, active = one["revision"], one["revision"] == self._answer.get("active")
        with ui.element("tr"):
            name = Markup('<b>{}</b> {}<br><span class="muted" title="{}">{}</span>').format(
                number,
                Markup('<span class="now">active</span>') if active else "",
                one["version"],
                version(one["version"]),
            )
            cell("th", name).props["scope"] = "row"
            parent = f"from {one['parent']}" if one["parent"] is not None else "the first"
            says = Markup('<span class="note"><bdi>{}</bdi> <span class="muted">{}</span></span>{}')
            cell("td", says.format(one["note"], parent, lines_of(one["summary"], 6)), "note")
            author = Markup(
                '<span class="cut" title="{}">{}</span><br><span class="muted when">{}, {}</span>'
            )
            wrote = author.format(one["author"], one["author"], moment(one["time_ms"]), one["origin"])
            cell("td", wrote, "by")
            with ui.element("td"), ui.element("div").classes("bar"):
                button(
                    "Compare",
                    lambda: compare(self._session, number),
                    label=f"Compare {number} with the active",
                )
                if not active:
                    press = button(
                        "Activate ...",
                        lambda: activate_dialog(self._session, number),
                        label=f"Activate {number}",
                    )
                    press.set_enabled(reason is None)

    async def _roll_back(self) -> None:
        await rollback_dialog(self._session)


class Audit:
    """The page of the audit.

    Args:
        session: of the tab.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._events: list[dict[str, Any]] = []
        with panel("Audit"):
            self._problem = ui.label().classes("reason").props("role=status")
            self._table = html()
            self._more = button("Older", self._older)
        self._more.set_visibility(False)
        session.on_change.append(soon(self.load))
        session.on_actor.append(soon(self.load))

    async def load(self) -> None:
        """The newest events."""
        reason = self._session.why_not("read")
        if reason is not None:
            self._problem.set_text(reason)
            self._table.set_content("")
            self._more.set_visibility(False)
            return
        await self._read([])

    async def _older(self) -> None:
        await self._read(self._events)

    async def _read(self, known: list[dict[str, Any]]) -> None:
        """The page after those that are known."""
        before = known[-1]["event"] if known else None
        try:
            answer = await self._session.send(control.audit(before, _PAGE))
        except FulcrumError as error:
            self._problem.set_text(_why(error))
            return
        self._problem.set_text("")
        self._events = [*known, *answer["events"]]
        self._more.set_visibility(answer["more"])
        rows = [
            (
                str(one["event"]),
                Markup('<span class="when">{}</span>').format(moment(one["time_ms"])),
                Markup('<span class="cut" title="{}">{}</span>').format(one["actor"], one["actor"]),
                Markup('{} <bdi class="note">{}</bdi>').format(one["action"].replace("_", " "), subject(one)),
                *(Markup('<span class="note">{}</span>').format(side) for side in sides(one)),
                Markup('<span class="note">{}</span>').format(one["why"]),
            )
            for one in self._events
        ]
        headers = ("event", "when", "who", "what", "before", "after", "why")
        empty = '<p class="empty">Nothing was changed yet.</p>'
        shown = table("Newest first", headers, rows, names=7, hidden=True, blocks=True)
        self._table.set_content(shown if rows else empty)


async def compare(session: Session, number: int) -> None:
    """Show what a revision has that the active one has not."""
    unfit = None
    try:
        revision = await session.send(control.revision(number))
        unfit = revision["unfit"]
        fusion = session.watch.fusion
        lines = differences(fusion["config"], revision["config"]) if fusion is not None else []
    except FulcrumError as error:
        lines = [_why(error)]
    with ui.context.client, ui.dialog() as dialog, ui.card().classes("ask"):
        dialog.props["aria-label"] = f"Revision {number}"
        dialog.on("hide", dialog.delete)
        heading(f"Revision {number} against the active one")
        if unfit is not None:
            ui.label(f"The serving bundle could not serve with it: {unfit}").classes("bad-text note")
        html(lines_of(lines or ["nothing: the same config"], 200))
        with ui.element("div").classes("bar"):
            ui.element("div").classes("spring")
            button("Close", dialog.close)
    dialog.open()


def _why(error: FulcrumError) -> str:
    return error.detail if isinstance(error, RefusedError) else str(error)
