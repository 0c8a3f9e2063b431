"""Experiments: lanes of the layers, what runs in them, and one experiment with all that is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup
from nicegui import ui

from model.client import experiments
from model.client.control import RefusedError
from model.errors import FulcrumError
from service.console.elements import button, cell, every, html, panel, soon
from service.console.experiments import report
from service.console.experiments.intervals import intervals
from service.console.experiments.lanes import lanes
from service.console.experiments.questions import Questions
from service.console.experiments.words import Report, buckets, is_live, metrics_of, next_ramp, part, state
from service.console.session import Session

_EVERY_S = 2.0


class Experiments:
    """The page.

    Args:
        session: of the tab.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._found: Mapping[str, Any] = {"layers": [], "experiments": []}
        self._drawn: object = None
        self._shown = False
        with ui.element("div").classes("stacked"):
            self._problem = ui.label().classes("bad-text note").props("role=alert")
            with panel("Layers"):
                self._lanes = html()
            with panel("Experiments"):
                self._list = ui.element("div")
            self._one = One(session, Questions(session, self._newest))
        session.on_change.append(soon(self.load))
        session.on_actor.append(self._draw)
        every(_EVERY_S, self._tick)

    def show(self, shown: bool) -> None:
        """Whether it is looked at: only then the service is asked."""
        self._shown = shown

    async def load(self) -> None:
        """As of now."""
        if not self._shown:
            return
        try:
            self._found = await self._session.send(experiments.experiments())
        except FulcrumError as error:
            self._problem.set_text(error.detail if isinstance(error, RefusedError) else str(error))
            return
        self._problem.set_text("")
        self._draw()
        chosen = self._newest(self._one.name or "") or self._first()
        if chosen is None:
            self._one.hide()
        else:
            await self._open(chosen["id"])

    async def _tick(self) -> None:
        if self._shown:
            await self.load()

    def _newest(self, name: str) -> Report | None:
        return next((one for one in self._found["experiments"] if one["id"] == name), None)

    def _first(self) -> Report | None:
        """What is looked at first: what runs, else the newest."""
        every = self._found["experiments"]
        return next((one for one in every if one["state"] == "running"), every[0] if every else None)

    async def _open(self, name: str) -> None:
        one = self._newest(name)
        if one is not None:
            layer = next((each for each in self._found["layers"] if each["name"] == one["layer"]), None)
            await self._one.show(one, layer["unit"] if layer is not None else "user")

    async def _look_at(self, name: str) -> None:
        await self._open(name)
        self._one.focus()

    def _draw(self) -> None:
        live = [is_live(one) for one in self._found["experiments"]]
        now = (self._found, live)
        if now == self._drawn:
            return
        self._drawn = now
        layers, every = self._found["layers"], self._found["experiments"]
        none = "No layers yet: `fulcrum experiment create` makes one with its first experiment."
        self._lanes.set_content(
            lanes(layers, every) if layers else Markup('<p class="empty">{}</p>').format(none)
        )
        self._list.clear()
        with self._list:
            if not every:
                ui.label("No experiments yet.").classes("empty")
                return
            scroll = (
                ui.element("div").classes("scroll").props('tabindex=0 role=region aria-label="All of them"')
            )
            with scroll, ui.element("table").classes("blocks"):
                ui.html("Newest first", sanitize=False, tag="caption").classes("hidden")
                with ui.element("thead"), ui.element("tr"):
                    for title in ("experiment", "state", "layer", "buckets", "live", "verdict", ""):
                        cell("th", title).props["scope"] = "col"
                with ui.element("tbody"):
                    for one in every:
                        self._row(one)

    def _row(self, one: Report) -> None:
        name = one["id"]
        outcome = one["outcome"] or {}
        look = one["look"] or {"verdicts": {}}
        said = [f"{arm}: {of['verdict']}" for arm, of in look["verdicts"].items() if of["verdict"]]
        if outcome:
            said = [f"{outcome['arm']}: {outcome['verdict']}" if outcome["arm"] else outcome["verdict"]]
        with ui.element("tr"):
            cut = Markup('<b class="cut" title="{}">{}</b>').format(name, name)
            cell("th", cut).props["scope"] = "row"
            now = Markup('<span class="now">{}</span>') if is_live(one) else Markup("{}")
            waits = Markup(' <span class="down">waits</span>') if one["waits"] else Markup("")
            cell("td", now.format(state(one)) + waits, "state")
            cell(
                "td",
                Markup('<span class="cut" title="{}">{}</span>').format(one["layer"], one["layer"]),
                "layer",
            )
            cell(
                "td",
                Markup('<span class="when">{}</span>').format(buckets(one["first"], one["size"])),
                "buckets",
            )
            cell("td", part(one["ramp"]) if is_live(one) else "none", "live")
            cell("td", ", ".join(said) or "none yet", "verdict")
            with ui.element("td"):
                button("Look", lambda: self._look_at(name), label=f"Look at {name}")


class One:
    """One experiment.

    Args:
        session: of the tab.
        questions: that its buttons ask.

    Attributes:
        name: of the experiment; None before the first.
    """

    def __init__(self, session: Session, questions: Questions) -> None:
        self._session, self._questions = session, questions
        self.name: str | None = None
        self._one: Report | None = None
        self._unit = "user"
        self._looks: list[Mapping[str, Any]] = []
        self._metric: str | None = None
        self._section = (
            ui.element("section").classes("panel").props('aria-label="One experiment" tabindex=-1')
        )
        with self._section:
            self._title = ui.html("", sanitize=False, tag="h2")
            self._presses = ui.element("div").classes("bar")
            with ui.element("div").classes("pair-of"):
                self._summary = html()
                self._arms = html()
            self._choice = ui.element("div").classes("bar")
            with ui.element("div").classes("pair-of"):
                self._picture = html()
                self._metrics = html()
            self._tables = html(classes="tables")
        self._section.set_visibility(False)
        session.on_actor.append(self._draw_presses)

    async def show(self, one: Report, unit: str) -> None:
        """This one, with its looks."""
        if one == self._one:
            return
        before, self._one, self.name, self._unit = self._one, one, one["id"], unit
        if before is None or before["id"] != one["id"] or before["look"] != one["look"]:
            try:
                self._looks = (await self._session.send(experiments.experiment(one["id"])))["looks"]
            except FulcrumError:  # it is asked again at the next change
                self._one = None
                return
        if self.name != one["id"]:
            return  # another was asked for meanwhile
        self._section.set_visibility(True)
        self._title.set_content(Markup("{}").format(one["id"]))
        if before is None or (before["id"], before["edition"]) != (one["id"], one["edition"]):
            self._draw_presses()
        self._summary.set_content(report.summary(one, unit))
        fusion = self._session.watch.fusion
        self._arms.set_content(report.arms(one, None if fusion is None else fusion["config"]))
        self._metrics.set_content(report.metrics(one))
        self._tables.set_content(report.guardrails(one) + report.plan(one))
        self._draw_choice()

    def hide(self) -> None:
        """There is none any more."""
        self._one = self.name = None
        self._section.set_visibility(False)

    def focus(self) -> None:
        """Go on there with the keyboard; it comes into view."""
        ui.run_javascript(f'document.getElementById("{self._section.html_id}").focus()')

    def _draw_choice(self) -> None:
        one = self._one
        names = [] if one is None else metrics_of(one, self._looks)
        if self._metric not in names:
            self._metric = names[0] if names else None
        self._choice.clear()
        if len(names) > 1:
            with self._choice:
                ui.select(
                    names, value=self._metric, label="Metric over the looks", on_change=self._choose
                ).props("outlined dense options-dense").style("min-width: 220px")
        self._draw_picture()

    def _choose(self, event: Any) -> None:
        self._metric = event.value
        self._draw_picture()

    def _draw_picture(self) -> None:
        one = self._one
        since = None if one is None else one["since_ms"]
        if one is None or since is None or self._metric is None:
            self._picture.set_content("")
            return
        looks = [look for look in self._looks if look["time_ms"] >= since]
        heading = Markup("<h3>Difference of <bdi>{}</bdi> to the control, at each look</h3>").format(
            self._metric
        )
        arms = [arm["name"] for arm in one["arms"]]
        self._picture.set_content(heading + intervals(looks, self._metric, arms, since))

    def _draw_presses(self) -> None:
        one, unit, ask = self._one, self._unit, self._questions
        self._presses.clear()
        if one is None or one["state"] == "stopped":
            return
        reason = self._session.why_not("activate")
        with self._presses:
            if one["state"] in ("draft", "paused"):
                pressed = [button("Start ...", lambda: ask.start(one, unit), "main")]
            else:
                pressed = [button("Pause ...", lambda: ask.pause(one, unit), "grave")]
            pressed.append(button("Stop ...", lambda: ask.stop(one, unit), "grave"))
            if one["ramp"] < one["size"]:
                to = ui.number(
                    "Live buckets", value=next_ramp(one), min=one["ramp"] + 1, max=one["size"], precision=0
                )
                to.props("outlined dense").classes("number").style("width: 110px")
                pressed.append(button("Ramp ...", lambda: self._ramp(one, to.value)))
            names = [arm["name"] for arm in one["arms"]]
            arm = ui.select(names, value=names[-1], label="Arm").props("outlined dense options-dense")
            arm.style("min-width: 130px")
            pressed.append(
                button("Give it to everybody ...", lambda: ask.decide(one, unit, str(arm.value)), "grave")
            )
            says = ui.label(reason or "").classes("reason")
            for each in pressed:
                each.set_enabled(reason is None)
                each.props["aria-describedby"] = says.html_id

    async def _ramp(self, one: Report, to: float | None) -> None:
        least, most = one["ramp"] + 1, one["size"]
        if to is None or not least <= to <= most:
            ui.notify(f"expected {least:,} to {most:,} buckets", position="bottom", classes="said")
            return
        await self._questions.ramp(one, self._unit, int(to))
