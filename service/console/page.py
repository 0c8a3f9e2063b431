"""The page of one browser tab: what is in force, who is signed in, and the parts of the console below."""

from __future__ import annotations

import time
from http import HTTPStatus

from markupsafe import Markup
from nicegui import app, ui

from model.client.control import RefusedError
from model.errors import FulcrumError
from service.console.changes.history import Audit, History
from service.console.changes.propose import Propose
from service.console.elements import button, every, heading, html
from service.console.experiments.page import Experiments
from service.console.kept import Browser
from service.console.play.page import Play
from service.console.session import Session
from service.console.state.page import State
from service.console.watch import Watch
from service.console.words import isolated, moment, span, version

_PARTS = ("Play", "Propose", "Experiments", "History", "Audit", "State")
_THEMES: tuple[tuple[bool | None, str], ...] = ((None, "as the system"), (False, "light"), (True, "dark"))


class Page:
    """One tab.

    Args:
        watch: of the service.
        url: of the service, as it is shown.
        browser: that the tab is of.
    """

    def __init__(self, watch: Watch, url: str, browser: Browser) -> None:
        self._watch, self._url, self._browser = watch, url, browser
        self.session = Session(watch)
        self._theme = ui.dark_mode(None)

    async def build(self) -> None:
        """Make the page, and keep it up to date."""
        self._header()
        self._banners = ui.element("div").props('role="status" aria-live="polite"')
        client = ui.context.client
        await client.connected()
        sign_out = self.session.sign_out
        self._browser.on_sign_out.append(sign_out)
        client.on_delete(lambda: self._browser.on_sign_out.remove(sign_out))
        await self.session.resume(self._browser.tabs.setdefault(str(client.tab_id), {}))
        self._theme.set_value(app.storage.tab.get("dark"))
        if self.session.base is None:
            self.session.take_base()
        self._parts()
        self._said: object = None
        every(0.25, self._look)
        self.session.on_actor.append(self._say_who)
        self._say_who()
        client.on_delete(self.play.previews.close)
        self.play.previews.want()

    def _header(self) -> None:
        with ui.header():
            heading("Fulcrum console", 1)
            self._facts = html(classes="facts")
            ui.element("div").classes("spring")
            self._who = html(classes="muted")
            self._sign = button("Sign in ...", self._sign_in_or_out)
            button("Theme", self._next_theme, label="Theme: light, dark, or as the system")

    def _parts(self) -> None:
        with ui.tabs().props(
            'align=left dense no-caps mobile-arrows aria-label="Parts of the console"'
        ) as tabs:
            for name in _PARTS:
                ui.tab(name)
        first = app.storage.tab.get("part", _PARTS[0])
        with ui.tab_panels(tabs, value=first, animated=False).classes("w-full"):
            with ui.tab_panel("Play"):
                self.play = Play(self.session)
            with ui.tab_panel("Propose"):
                propose = Propose(self.session)
            with ui.tab_panel("Experiments"):
                experiments = Experiments(self.session)
            with ui.tab_panel("History"):
                history = History(self.session)
            with ui.tab_panel("Audit"):
                audit = Audit(self.session)
            with ui.tab_panel("State"):
                state = State(self.session)

        loads = {
            "Experiments": experiments.load,
            "History": history.load,
            "Audit": audit.load,
            "State": state.load,
        }

        async def turned(name: str) -> None:
            app.storage.tab["part"] = name
            state.show(name == "State")
            experiments.show(name == "Experiments")
            propose.show(name == "Propose")
            if name in loads:
                await loads[name]()

        tabs.on_value_change(lambda event: turned(event.value))
        if first != "Play":
            ui.timer(0.0, lambda: turned(first), once=True)

    def _look(self) -> None:
        """What is in force, and whether something is to be said of it."""
        watch, session = self._watch, self.session
        mine = watch.fusion is not None and watch.fusion["config"] == session.config
        if session.base is None or (session.stale and (mine or not session.edited)):
            session.take_base()
        schedule = watch.schedule
        away_s = int(time.time() - watch.since) if watch.problem is not None else None
        said = (watch.active, session.active, away_s, str(schedule), session.edited, session.lost)
        if said == self._said:
            return
        news = self._said is not None and self._said[0] != watch.active  # type: ignore[index]
        self._said = said
        self._show_facts()
        self._banners.clear()
        with self._banners:
            if away_s is not None:
                self._say_away(away_s)
            if session.lost is not None:
                self._say_lost(session.lost)
            if session.stale:
                self._say_stale()
        if news:
            session.changed()

    def _show_facts(self) -> None:
        watch = self._watch
        dot = "dot" if watch.problem is None else "dot away"
        state = "" if watch.problem is None else "away"
        shown = Markup('<span class="url" title="{}"><span class="{}"></span>{} {}</span>')
        facts = [shown.format(self._url, dot, self._url, state)]
        if watch.active is not None:
            number, name = watch.active
            what = Markup("revision <b>{}</b>").format(number) if number is not None else "config"
            facts.append(Markup('<span title="{}">{} {}</span>').format(name, what, version(name)))
        if watch.schedule:
            number, at_ms = watch.schedule["revision"], watch.schedule["at_ms"]
            facts.append(Markup("<span>revision {} at {}</span>").format(number, moment(at_ms)))
        self._facts.set_content(Markup("").join(facts))

    def _say_away(self, seconds: int) -> None:
        kept = " Your edits are kept." if self.session.edited else ""
        with ui.element("div").classes("banner bad"):
            away = f"No answer for {span(max(seconds, 1))}; trying again each second."
            ui.label(f"{away}{kept} {self._watch.problem}").classes("note")

    def _say_lost(self, actor: str) -> None:
        with ui.element("div").classes("banner bad"):
            ui.label(f"The service does not know the token of {isolated(actor)} any more: signed out.")
            button("Sign in again ...", self._sign_in_or_out)

    def _say_stale(self) -> None:
        number = self._watch.fusion["revision"] if self._watch.fusion is not None else None
        name = f"Revision {number}" if number is not None else "Another config"
        base = self.session.base["revision"] if self.session.base is not None else None
        since = moment(1000 * self._watch.changed)
        with ui.element("div").classes("banner warn"):
            ui.label(f"{name} is active since {since}; your edits are of {base}.")
            button(f"Put my edits upon {number}", lambda: self.session.take_base(keep_edits=True), "main")
            button("Give them up and reload", self.session.take_base)

    def _say_who(self) -> None:
        session = self.session
        scopes = ", ".join(sorted(session.scopes - {"admin"})) or "nothing more than looking"
        name = session.actor
        says = Markup("<bdi>{}</bdi>: {}").format(name, scopes)
        self._who.set_content("read only" if name is None else says)
        self._sign.set_text("Sign in ..." if session.actor is None else "Sign out")

    def _next_theme(self) -> None:
        values = [value for value, _ in _THEMES]
        value, name = _THEMES[(values.index(self._theme.value) + 1) % len(_THEMES)]
        self._theme.set_value(value)
        app.storage.tab["dark"] = value
        ui.notify(f"Theme: {name}", position="bottom", classes="said")

    def _sign_in_or_out(self) -> None:
        if self.session.actor is not None:
            self._browser.sign_out()
            return
        with ui.dialog() as dialog, ui.card().classes("ask"):
            dialog.props["aria-label"] = "Sign in"
            dialog.on("hide", dialog.delete)
            heading("Sign in")
            ui.label(
                "A token of the service's tokens file. It is kept in the console's memory, for this tab of "
                "this browser, until you sign out; the browser keeps none of it."
            ).classes("muted")
            token = ui.input("Token", password=True).props("outlined dense autofocus autocomplete=off")
            problem = ui.label().classes("bad-text note").props("role=alert")

            async def sign_in() -> None:
                try:
                    await self.session.sign_in((token.value or "").strip())
                except FulcrumError as error:
                    problem.set_text(_why_not_signed_in(error))
                    return
                token.set_value("")
                dialog.close()

            token.on("keydown.enter", sign_in)
            with ui.element("div").classes("bar"):
                ui.element("div").classes("spring")
                button("Cancel", dialog.close)
                button("Sign in", sign_in, "main")
        dialog.open()


def _why_not_signed_in(error: FulcrumError) -> str:
    if not isinstance(error, RefusedError):
        return str(error)
    if error.status == HTTPStatus.UNAUTHORIZED:
        return "the service does not know this token; expected one of its --tokens file, without its name"
    return error.detail
