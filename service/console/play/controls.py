"""Sliders and number fields of a scene, and the curve of f(video_len). Asks the service nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

from nicegui import ui

from model.errors import FulcrumError
from service.console.elements import button, html, panel
from service.console.play.charts import lengths
from service.console.play.knobs import KINDS, STEPS, Knob, fixed_parts, knobs, with_kind, with_value
from service.console.play.range import Range
from service.console.session import Session
from service.console.words import number

_FORMULAS = {
    "log_power": "log score = the sum of weight \N{MULTIPLICATION SIGN} log(p + smoothing)",
    "weighted_sum": "score = the sum of price \N{MULTIPLICATION SIGN} p",
    "rank_ensemble": "score = the sum of weight / (k + rank of p)",
    "model": "score = a network's",
}


class Controls:
    """The left side of Play.

    Args:
        session: of the tab.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._bins: Sequence[Mapping[str, Any]] = ()
        with panel("Weights"):
            with ui.element("div").classes("bar"):
                self._scene = ui.select([], label="Scene", on_change=self._look_at).props(
                    "outlined dense options-dense"
                )
                self._scene.classes("grow").style("min-width: 190px")
                self._reset = button("Reset edits", self._take_back)
            self._formula = ui.label().classes("source")
            self._knobs = ui.element("div").classes("knobs")
            self._notes = ui.element("div")
            self._problem = ui.label().classes("bad-text").props("role=alert")
        with panel("Video length"):
            self._kind = ui.select(list(KINDS), label="Kind of f(video_len)", on_change=self._take_kind)
            self._kind.props("outlined dense options-dense").style("max-width: 220px")
            html(
                '<ul class="legend" style="margin-top:6px"><li><span class="swatch before"></span>active</li>'
                '<li><span class="swatch after"></span>edited</li>'
                '<li><span class="swatch" style="background:var(--bin)"></span>candidates by length</li></ul>'
            )
            self._chart = html()
            self._length_knobs = ui.element("div").classes("knobs")
        session.on_base.append(self.build)
        session.on_edit.append(self.look)
        self.build()

    def show_bins(self, bins: Sequence[Mapping[str, Any]]) -> None:
        """Another histogram of lengths."""
        if bins != self._bins:
            self._bins = bins
            self._draw()

    def build(self) -> None:
        """Everything anew: another base, another scene, another kind."""
        session = self._session
        self._knobs.clear()
        self._length_knobs.clear()
        self._notes.clear()
        if session.base is None:
            self._scene.set_options([])
            return
        scenes = list(session.config["scenes"])
        self._scene.set_options(scenes, value=session.scene)
        scene = session.config["scenes"][session.scene]
        self._formula.set_text(f"{scene['formula']}: {_FORMULAS.get(scene['formula'], '')}")
        self._rows: list[_Row] = []
        every = knobs(scene, session.base["left_out"].get(session.scene, []))
        with self._knobs:
            for group, some in groupby(
                (one for one in every if one.group != "video_len"), lambda one: one.group
            ):
                ui.label(group).classes("group")
                self._rows += [_Row(one, self._base_value(one), self._turn) for one in some]
        with self._length_knobs:
            self._rows += [
                _Row(one, self._base_value(one), self._turn) for one in every if one.group == "video_len"
            ]
        learned = scene["formula"] == "model"
        self._kind.set_value(scene.get("video_len", {"kind": "none"})["kind"])
        self._kind.set_enabled(not learned)
        with self._notes:
            for says in fixed_parts(scene):
                ui.label(says).classes("source note")
        self.look()

    def look(self) -> None:
        """What follows from the values."""
        try:
            count = len(self._session.differences())
            self._problem.set_text("")
        except FulcrumError as error:
            count = 1
            self._problem.set_text(str(error))
        self._reset.set_enabled(bool(count))
        self._reset.set_text(f"Reset {count} edit{'' if count == 1 else 's'}" if count else "Nothing edited")
        self._draw()

    def _draw(self) -> None:
        base, edited = self._scene_of_base(), self._session.config.get("scenes", {}).get(self._session.scene)
        if edited is None:
            return
        none = {"kind": "none"}
        before = (base or edited).get("video_len", none)
        self._chart.set_content(lengths(self._bins, before, edited.get("video_len", none)))

    def _turn(self, knob: Knob, value: float) -> None:
        scene = self._session.config["scenes"][self._session.scene]
        self._session.edit(with_value(scene, knob.path, value))

    def _take_kind(self, event: Any) -> None:
        scene = self._session.config["scenes"][self._session.scene]
        if event.value is not None and event.value != scene.get("video_len", {"kind": "none"})["kind"]:
            base = (self._scene_of_base() or {}).get("video_len", {})
            back = base.get("kind") == event.value  # as it was, with its numbers
            changed = {**scene, "video_len": base} if back else with_kind(scene, event.value)
            self._session.edit(changed)
            self.build()

    def _look_at(self, event: Any) -> None:
        if event.value is not None and event.value != self._session.scene:
            self._session.look_at(event.value)
            self.build()
            for listener in self._session.on_edit:
                listener()

    def _take_back(self) -> None:
        if self._session.base is not None:
            self._session.replace(self._session.base["config"])

    def _scene_of_base(self) -> Mapping[str, Any] | None:
        base = self._session.base
        found: Mapping[str, Any] | None = base and base["config"]["scenes"].get(self._session.scene)
        return found

    def _base_value(self, knob: Knob) -> float | None:
        at: Any = self._scene_of_base()
        if knob.group == "video_len" and (at or {}).get("video_len", {}).get("kind") != self._kind_now():
            return None
        try:
            for key in knob.path:
                at = at[key]
        except (KeyError, IndexError, TypeError):
            return 0.0 if knob.path[0] == "tasks" else None
        return float(at)

    def _kind_now(self) -> str:
        scene = self._session.config["scenes"][self._session.scene]
        return str(scene.get("video_len", {"kind": "none"})["kind"])


class _Row:
    """One knob: its name, a slider, a number field, and what the active config has."""

    def __init__(self, knob: Knob, base: float | None, turn: Callable[[Knob, float], None]) -> None:
        self._knob, self._base, self._turn, self._value = knob, base, turn, knob.value
        name = knob.label + (f", {knob.unit}" if knob.unit else "")
        ui.label(name)
        self._slider = Range(STEPS, knob.at(knob.value), knob.name, self._slid)
        self._slider.props["aria-valuetext"] = number(knob.value)
        self._field = ui.number(
            value=knob.value, format="%.6g", on_change=self._typed, validation=self._why_not
        )
        self._field.props("outlined dense hide-bottom-space debounce=150").classes("number")
        self._field.props["aria-label"] = f"{knob.name}, as a number"
        self._was = ui.label().classes("was")
        self._say()

    def _slid(self, event: Any) -> None:
        if event.value != self._knob.at(self._value):
            self._take(self._knob.of(event.value))
            self._field.set_value(self._value)

    def _why_not(self, value: float | None) -> str | None:
        """Why a number that was typed is not taken; the value before it holds."""
        knob = self._knob
        if value is not None and knob.least <= value <= knob.most:
            return None
        return f"{number(knob.least)} to {number(knob.most)}; {number(self._value)} holds"

    def _typed(self, event: Any) -> None:
        if event.value == self._value or self._why_not(event.value) is not None:
            return
        value = float(event.value)
        self._take(value)
        self._slider.set_value(self._knob.at(value))

    def _take(self, value: float) -> None:
        self._value = value
        self._slider.props["aria-valuetext"] = number(value)
        self._say()
        self._turn(self._knob, value)

    def _say(self) -> None:
        differs = self._base is not None and self._value != self._base
        self._was.set_text("new" if self._base is None else f"was {number(self._base)}" if differs else "")
        self._was.classes(add="changed" if differs else "", remove="" if differs else "changed")
