"""Propose: what was edited becomes a revision, and is made the active one or not."""

from __future__ import annotations

from typing import Any

import yaml
from nicegui import ui

from model.client import control
from model.client.control import RefusedError
from model.errors import FulcrumError
from model.fusion import parse_fusion
from service.console.changes.activate import activate_dialog
from service.console.changes.confirm import lines_of
from service.console.elements import Gate, button, html, panel
from service.console.session import Session
from service.console.watch import Active


class Propose:
    """The page.

    Args:
        session: of the tab.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._proposed: dict[str, Any] | None = None
        self._then: Active | None = None
        with ui.element("div").classes("pair-of"):
            with ui.element("div").classes("stacked"):
                with panel("What was edited"):
                    self._base = ui.label().classes("source")
                    self._lines = html()
                with panel("Propose it"):
                    self._note = ui.textarea("Note: what it is for (required)", on_change=self._look)
                    self._note.props("outlined dense autogrow maxlength=2000")
                    with ui.element("div").classes("bar").style("margin-top: 8px"):
                        self._press = button("Propose revision", self._propose, "main")
                        self._gate = Gate(session, "propose", self._press, also=self._missing)
                    self._problem = ui.label().classes("bad-text note").props("role=alert")
                    self._done = ui.element("div").props('aria-live="polite"')
            with panel("The config as text"):
                ui.label(
                    "What has no slider is changed here: segments, calibration, exploring, scenes."
                ).classes("source")
                self._text = (
                    ui.textarea().props('outlined dense aria-label="The edited config, YAML"').classes("text")
                )
                with ui.element("div").classes("bar").style("margin-top: 8px"):
                    button("Take the text", self._take_text)
                    button("Back to what is edited", self._show_text)
                self._text_problem = ui.label().classes("bad-text note").props("role=alert")
        self._shown = False
        session.on_edit.append(self._follow)
        session.on_base.append(self._follow)
        session.on_change.append(self._drop)

    def show(self, shown: bool) -> None:
        """Whether it is looked at: only then it follows each edit."""
        self._shown = shown
        self._follow()

    def _follow(self) -> None:
        if self._shown:
            self._look()
            self._show_text()

    def _look(self) -> None:
        session = self._session
        if session.base is None:
            return
        number = session.base["revision"]
        self._base.set_text(
            f"Against revision {number}"
            if number is not None
            else "Against the config in force, which has no number"
        )
        try:
            lines = session.differences()
            self._lines.set_content(
                lines_of(lines, 200) if lines else '<p class="empty">Nothing was edited.</p>'
            )
        except FulcrumError as error:
            self._lines.set_content(lines_of([str(error)]))
        self._gate.look()

    def _drop(self) -> None:
        """Offer no more what was proposed, once it or another revision became active."""
        if self._proposed is not None and self._session.watch.active != self._then:
            self._proposed = None
            self._done.clear()

    def _missing(self) -> str | None:
        if not self._session.edited:
            return "nothing was edited"
        return None if (self._note.value or "").strip() else "a note is required"

    async def _propose(self) -> None:
        session = self._session
        self._problem.set_text("")
        if session.base is None:
            return
        call = control.propose(session.config, parent=session.base["revision"], note=self._note.value.strip())
        try:
            found = await session.send(call)
        except FulcrumError as error:
            self._problem.set_text(error.detail if isinstance(error, RefusedError) else str(error))
            return
        self._proposed, self._then = found, session.watch.active
        self._done.clear()
        number, unfit = found["revision"], found.get("unfit")
        with self._done:
            ui.label(
                f"Revision {number} is proposed; it is not active."
                + (f" The serving bundle could not serve with it: {unfit}" if unfit else "")
            ).classes("bad-text" if unfit else "")
            with ui.element("div").classes("bar"):
                press = button(f"Activate {number} ...", self._activate, "main")
                Gate(session, "activate", press, also=lambda: "it is unfit" if unfit else None)
        self._note.set_value("")
        session.changed()

    async def _activate(self) -> None:
        if self._proposed is not None:
            await activate_dialog(self._session, self._proposed["revision"])

    def _show_text(self) -> None:
        self._text.set_value(
            yaml.safe_dump(self._session.config, sort_keys=False, width=100) if self._session.config else ""
        )
        self._text_problem.set_text("")

    def _take_text(self) -> None:
        try:
            config = parse_fusion(self._text.value or "").model_dump(mode="json", exclude_none=True)
        except FulcrumError as error:
            self._text_problem.set_text(str(error))
            return
        self._session.replace(config)
