"""State: bundles, workers, features, events, what is degraded, and how long each stage takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup
from nicegui import ui

from model.client import control
from model.client.control import RefusedError
from model.errors import FulcrumError
from service.console.changes.activate import said_to_pause
from service.console.changes.confirm import confirm
from service.console.elements import button, every, html, panel, soon
from service.console.play.impact import table
from service.console.session import Session
from service.console.state.scrape import Look, Samples, histograms, quantile, read, since
from service.console.words import count, flat, moment, number, relative, signed_percent, span, version

_EVERY_S = 2.0
_STAGES = "fulcrum_rank_stage_seconds"


class State:
    """The page.

    Args:
        session: of the tab.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._looks: list[Look] = []
        self._models: Sequence[Mapping[str, Any]] = ()
        self._shown = False
        with ui.element("div").classes("stacked snug"):
            self._problem = ui.label().classes("bad-text note").props("role=alert")
            with ui.element("div").classes("pair-of"):
                with panel("Service"):
                    self._service = html()
                with panel("Latency by stage"):
                    self._latency = html()
            with ui.element("div").classes("pair-of"):
                with panel("Degraded and refused"):
                    self._degraded = html()
                with panel("Events and feedback"):
                    self._events = html()
            with panel("Bundles"):
                self._bundles = ui.element("div")
        session.on_actor.append(self._draw_bundles)
        session.on_change.append(soon(self.load))
        every(_EVERY_S, self._tick)

    def show(self, shown: bool) -> None:
        """Whether it is looked at: only then the service is asked."""
        self._shown = shown

    async def _tick(self) -> None:
        if self._shown:
            await self.load()

    async def load(self) -> None:
        """As of now."""
        send = self._session.send
        try:
            ready, models, text = [
                await send(call) for call in (control.ready(), control.models(), control.metrics())
            ]
        except FulcrumError as error:
            self._problem.set_text(error.detail if isinstance(error, RefusedError) else str(error))
            return
        self._problem.set_text("")
        look = read(bytes(text).decode("utf-8", "replace"), time.monotonic())
        self._looks = [*self._looks, look][-16:]
        before = self._looks[0] if len(self._looks) > 1 else None
        counted = since(look, before)
        over = "since the service started" if before is None else f"over the last {span(look.at - before.at)}"
        self._service.set_content(_service(ready))
        self._latency.set_content(
            _latency(counted, over)
            or _latency(look.samples, "since the service started; nothing was ranked of late")
            or '<p class="empty">Nothing was ranked yet.</p>'
        )
        self._degraded.set_content(_counters(look, counted, over))
        self._events.set_content(_events(ready, look, counted, over))
        if models["models"] != self._models:
            self._models = models["models"]
            self._draw_bundles()

    def _draw_bundles(self) -> None:
        self._bundles.clear()
        with self._bundles:
            if not self._models:
                ui.label("No bundles to show.").classes("empty")
                return
            html(_side_by_side(self._models))
            reason = self._session.why_not("activate", revisions=False)
            with ui.element("div").classes("bar").style("margin-top: 8px"):
                for one in self._models:
                    if one["status"] in ("available", "previous"):
                        press = button(
                            f"Activate {version(one['version'])} ...", lambda one=one: self._activate(one)
                        )
                        press.set_enabled(reason is None)
                if reason is not None:
                    ui.label(reason).classes("reason")

    async def _activate(self, model: Mapping[str, Any]) -> None:
        await self._session.watch.look()
        active = next((one for one in self._models if one["status"] == "active"), None)

        async def do(_: str, __: int | None) -> str:
            await self._session.send(control.activate_bundle(model["version"]), within_s=120.0)
            return f"Bundle {version(model['version'])} serves"

        workers = sum(one["workers"] for one in self._models)
        says = Markup("<p>{} from bundle {} to {}. What validation said of both:</p>{}").format(
            f"{count(workers, 'worker')} change",
            version(active["version"] if active else None),
            version(model["version"]),
            _side_by_side([*([active] if active else []), model]),
        )
        await confirm(
            self._session,
            f"Activate bundle {version(model['version'])}",
            "Activate bundle",
            do,
            also=says + await said_to_pause(self._session),
            drops=self._session.watch.schedule,
            reasoned=False,
        )


def _service(ready: Mapping[str, Any]) -> Markup:
    workers = ready["workers"]
    rows: list[tuple[str, str | Markup]] = [
        ("workers", f"{workers['ready']} of {workers['wanted']} ready, {workers['replaced']} replaced"),
        ("bundle", _tally(ready["bundles"])),
        ("fusion", _tally(ready["fusions"])),
        *([("revision", _tally(ready["revisions"]))] if "revisions" in ready else []),
        *([("control store", ready["control"])] if "control" in ready else []),
        ("features", f"{ready['features']}, published {_tally(ready['generations'], _published)}"),
    ]
    return table("Service", ("what", "is"), rows, names=2, hidden=True)


def _tally(found: Mapping[str, int], named: Callable[[str], str] = lambda name: name) -> str:
    return (
        ", ".join(
            f"{version(name) if name.startswith('sha256:') else named(name)} ({count(workers, 'worker')})"
            for name, workers in found.items()
        )
        or "none"
    )


def _published(generation: str) -> str:
    """When a generation of features was published, which its name begins with, and how long ago."""
    try:
        at = datetime.strptime(generation.partition("-")[0], "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return generation
    age_s = max(time.time() - at.timestamp(), 0.0)
    return f"{moment(1000.0 * at.timestamp())}, {span(age_s)} ago"


def _latency(counted: Samples, over: str) -> Markup:
    stages = histograms(counted, _STAGES, "stage")
    stages |= {
        f"{route} in all": bounds
        for route, bounds in histograms(counted, "fulcrum_request_seconds", "route").items()
        if route == "/v1/rank"
    }
    rows = []
    for stage, bounds in stages.items():
        p50, p99 = quantile(0.5, bounds), quantile(0.99, bounds)
        if p50 is not None and p99 is not None:
            rows.append((stage, f"{max(bounds.values()):,.0f}", span(p50), span(p99)))
    if not rows:
        return Markup("")
    return table(f"Of rankings, {over}", ("stage", "counted", "p50", "p99"), rows)


def _counters(look: Look, counted: Samples, over: str) -> Markup:
    rows = []
    recent = Look(look.at, counted)
    for name, label, what in (
        ("fulcrum_rank_degraded_total", "reason", "degraded"),
        ("fulcrum_rank_shed_total", "reason", "refused"),
        ("fulcrum_connections_cut_total", "reason", "cut"),
    ):
        new = recent.by(name, label)
        for reason, value in look.by(name, label).items():
            if value:
                rows.append(
                    (f"{what}: {reason.replace('_', ' ')}", f"{new.get(reason, 0.0):,.0f}", f"{value:,.0f}")
                )
    if not rows:
        return Markup('<p class="empty">Nothing was degraded or refused since the service started.</p>')
    return table("Rankings and connections", ("what", over, "in all"), rows)


def _events(ready: Mapping[str, Any], look: Look, counted: Samples, over: str) -> Markup:
    rows = [("exposures", ready["events"]), ("feedback", ready["feedback"])]
    recent = Look(look.at, counted)
    for name, words in (
        ("fulcrum_exposures_written_total", "exposures written"),
        ("fulcrum_feedback_events_total", "feedback events"),
    ):
        if (every := look.by(name, "")) and (new := recent.by(name, "")):
            rows.append((words, f"{sum(new.values()):,.0f} {over}, {sum(every.values()):,.0f} in all"))
    waiting = look.by("fulcrum_exposures_waiting", "")
    if waiting:
        rows.append(("exposures waiting to be written", f"{sum(waiting.values()):,.0f}"))
    for name, words in (
        ("fulcrum_exposures_wait_seconds", "an exposure's way to the disk"),
        ("fulcrum_feedback_lateness_seconds", "feedback after its exposure"),
    ):
        bounds = histograms(look.samples, name, "").get("", {})
        p50, p99 = quantile(0.5, bounds), quantile(0.99, bounds)
        if p50 is not None and p99 is not None:
            rows.append((words, f"p50 {span(p50)}, p99 {span(p99)}"))
    for name, words in (
        ("fulcrum_exposures_dropped_total", "exposures lost"),
        ("fulcrum_feedback_refused_total", "feedback refused"),
    ):
        rows += [
            (f"{words}: {reason.replace('_', ' ')}", f"{value:,.0f}")
            for reason, value in look.by(name, "reason").items()
            if value
        ]
    return table("Events", ("what", "is"), rows, names=2, hidden=True)


def _side_by_side(models: Sequence[Mapping[str, Any]]) -> Markup:
    """Metrics of bundles, a column each; those of others as what they are more than the active one's."""
    values = [flat(one["metrics"]) for one in models]
    at = next((at for at, one in enumerate(models) if one["status"] == "active"), 0)
    names = list(dict.fromkeys(name for one in values for name in one))

    def cell(column: int, name: str) -> str:
        value, active = values[column].get(name), values[at].get(name)
        more = "" if column == at else signed_percent(relative(active, value), 2)
        return number(value, 5) + (f" ({more})" if more and value is not None and active else "")

    headers = ["", *(f"{version(one['version'])} {one['status']}" for one in models)]
    rows: list[list[str | Markup]] = [
        [
            "name",
            *(
                Markup('<span class="cut" title="{}">{}</span>').format(one["path"], one["name"] or "")
                for one in models
            ),
        ],
        ["created", *((one["created"] or "")[:16].replace("T", " ") for one in models)],
        ["workers", *(str(one["workers"]) for one in models)],
        *([name, *(cell(column, name) for column in range(len(models)))] for name in names),
    ]
    if any(one["reason"] for one in models):
        rows.insert(
            1,
            [
                "refused",
                *(Markup('<span class="note">{}</span>').format(one["reason"] or "") for one in models),
            ],
        )
    return table("Bundles side by side", headers, rows, hidden=True)
