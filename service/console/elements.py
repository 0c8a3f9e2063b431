"""Elements that all pages have in common: buttons, panels, and why something cannot be pressed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, Literal

from markupsafe import Markup
from nicegui import background_tasks, ui

from service.console.session import Listener, Session

Kind = Literal["plain", "main", "grave"]


def html(content: str | Markup = "", classes: str = "") -> ui.html:
    """Markup of the console's own, of which all that came from elsewhere was escaped."""
    return ui.html(content, sanitize=False).classes(classes)


def heading(text: str, level: int = 2) -> ui.html:
    """A heading."""
    return ui.html(Markup("{}").format(text), sanitize=False, tag=f"h{level}")


def cell(tag: str, content: str | Markup, label: str = "") -> ui.html:
    """A cell of a table; `label` is its column's name, for where a row becomes lines."""
    made = ui.html(Markup("{}").format(content), sanitize=False, tag=tag)
    made.props["data-label"] = label
    return made


@contextmanager
def panel(title: str, classes: str = "") -> Iterator[ui.element]:
    """A part of a page with a name."""
    with ui.element("section").classes(f"panel {classes}").props(f'aria-label="{title}"') as section:
        heading(title)
        yield section


def button(text: str, press: Callable[..., Any], kind: Kind = "plain", label: str | None = None) -> ui.button:
    """A button; `label` is what it is called where its text alone would not say enough."""
    made = ui.button(text, on_click=press, color=None).props("unelevated no-caps").classes(kind)
    if label is not None:
        made.props["aria-label"] = label
    return made


def line(label: str, value: str = "", **props: Any) -> ui.input:
    """A field of one line."""
    made = ui.input(label, value=value).props("outlined dense")
    made.props.update(props)
    return made


def soon(work: Callable[[], Coroutine[Any, Any, None]]) -> Listener:
    """A call that has the work begun, and waits for nothing."""
    return lambda: background_tasks.create(work())


def every(seconds: float, work: Callable[[], object]) -> None:
    """Work, or have it begun, again and again while the page is open: it is kept for a while after that."""
    client = ui.context.client

    async def turn() -> None:
        if client.has_socket_connection:
            found = work()
            if isinstance(found, Awaitable):
                await found

    ui.timer(seconds, turn)


class Gate:
    """Buttons that need a scope: disabled while the actor lacks it, with the reason beside them.

    Args:
        session: of the tab.
        scope: that is needed.
        buttons: these.
        also: another reason, asked each time; None where there is none.
    """

    def __init__(
        self,
        session: Session,
        scope: str,
        *buttons: ui.button,
        also: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._session, self._scope, self._buttons, self._also = session, scope, buttons, also
        self._reason = ui.label().classes("reason")
        for each in buttons:
            each.props["aria-describedby"] = self._reason.html_id
        session.on_actor.append(self.look)
        session.on_base.append(self.look)
        self.look()

    def look(self) -> None:
        """Enable or disable."""
        reason = self._session.why_not(self._scope) or self._also()
        for each in self._buttons:
            each.set_enabled(reason is None)
        self._reason.set_text(reason or "")
        self._reason.set_visibility(reason is not None)
