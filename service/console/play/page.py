"""Play: sliders to the left, and to the right what they would change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from service.console.elements import button, html, panel
from service.console.play.controls import Controls
from service.console.play.impact import impact
from service.console.play.previews import MOST_TOP, Previews
from service.console.play.request_table import request_name, request_table
from service.console.play.why import name_of, why
from service.console.session import Session
from service.console.words import isolated, span

_ASKING = '<p class="muted">Asking the service ...</p>'


class Play:
    """The page.

    Args:
        session: of the tab.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._one: Mapping[str, Any] = {}
        self._chosen: list[int | None] = [None, None]
        self._offering = False
        with ui.element("div").classes("split"):
            with ui.element("div").classes("stacked controls"):
                self._controls = Controls(session)
            with ui.element("div").classes("stacked every"):
                self._build_every()
            with ui.element("div").classes("stacked one"):
                self._build_one()
        self.previews = Previews(session, self._show_every, self._show_one, self._say)

    def _build_one(self) -> None:
        with panel("One request, active and edited"):
            with ui.element("div").classes("bar"):
                button("\N{LEFTWARDS ARROW}", lambda: self._pick(-1), label="Previous request")
                button("\N{RIGHTWARDS ARROW}", lambda: self._pick(1), label="Next request")
                self._name = ui.label().classes("muted")
            self._table = html(_ASKING)
            with ui.element("div").classes("bar"):
                self._which = [
                    ui.select({}, label=label, on_change=self._choose).props("outlined dense options-dense")
                    for label in ("Why is", "above")
                ]
                for select in self._which:
                    select.style("min-width: 180px; max-width: 100%")
            self._why = html()

    def _build_every(self) -> None:
        with panel("Recent requests"):
            with ui.element("div").classes("bar"):
                recent = ui.select([50, 100, 300], value=300, label="Requests")
                top = ui.select([1, 5, 10, 20, MOST_TOP], value=10, label="Top")
                for select, name in ((recent, "recent"), (top, "top")):
                    select.props("outlined dense options-dense").style("min-width: 92px")
                    select.on_value_change(lambda event, name=name: self._set(name, event.value))
                button("Newest requests", self._newest)
                self._took = ui.label().classes("muted took")
            self._problem = ui.label().classes("bad-text note").props("role=alert")
            self._impact = html(_ASKING, "impact")

    def _show_every(self, every: Mapping[str, Any]) -> None:
        self._impact.set_content(impact(every, self.previews.top))
        self._took.set_text(f"answered in {span(self.previews.took_s)}")
        self._took.props["data-took-ms"] = round(1000.0 * self.previews.took_s, 1)
        self._controls.show_bins((every.get("exposure") or {}).get("video_len", ()))

    def _show_one(self, one: Mapping[str, Any]) -> None:
        self._one = one
        self._table.set_content(request_table(one))
        self._name.set_text(request_name(one) if one.get("after") else "")
        self._offer()
        self._explain()

    def _say(self, problem: str | None) -> None:
        self._problem.set_text(problem or "")
        for waiting in (self._impact, self._table):
            if problem and waiting.content == _ASKING:
                waiting.set_content("")

    def _offer(self) -> None:
        """The request's items, to choose two of."""
        offered = {
            item["candidate"]: f"{item['rank']}. {isolated(name_of(item)[:40])}"
            for item in self._one.get("after", ())
        }
        self._offering = True
        for place, select in enumerate(self._which):
            mine = self._chosen[place]
            chosen = mine if mine in offered else next(iter([*offered][place:]), None)
            if select.options != offered or select.value != chosen:
                select.set_options(offered, value=chosen)
        self._offering = False

    def _choose(self) -> None:
        if not self._offering:
            self._chosen = [select.value for select in self._which]
            self._explain()

    def _explain(self) -> None:
        one, other = (select.value for select in self._which)
        says = ""
        sides = (("after", "the edited config"), ("before", "the active config"))
        for side, under in sides if self._session.edited else sides[1:]:
            items = {item["candidate"]: item for item in self._one.get(side, ())}
            if one in items and other in items and one != other:
                says += why(items[one], items[other], under)
        self._why.set_content(says or '<p class="muted">Choose two items that both have a place here.</p>')

    def _pick(self, step: int) -> None:
        self.previews.pick += step
        self.previews.want()

    def _set(self, name: str, value: int) -> None:
        setattr(self.previews, name, value)
        self.previews.want()

    def _newest(self) -> None:
        self._session.remember_sample(None)
        self.previews.want()
