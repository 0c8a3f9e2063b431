"""Before something changes: what it will change, in numbers, and why it is done."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup
from nicegui import ui

from model.client import control
from model.client.control import RefusedError
from model.errors import FulcrumError
from service.console.elements import Kind, button, heading, html
from service.console.play.impact import impact, in_words
from service.console.session import Session, differences
from service.console.words import count, moment

_RECENT, _TOP = 300, 10
_SCENES = 3
"""Whose effect is shown: the first that differ."""

Do = Callable[[str, int | None], Awaitable[str]]
"""Does it: given why, and when (Unix time in milliseconds, None for now); says what was done."""


async def confirm(
    session: Session,
    title: str,
    press: str,
    do: Do,
    *,
    revision: Mapping[str, Any] | None = None,
    also: Markup | None = None,
    drops: Mapping[str, Any] | None = None,
    later: bool = False,
    reasoned: bool = True,
    kind: Kind = "main",
    stale: Callable[[], str | None] | None = None,
) -> None:
    """Ask, with what would change, and do it.

    Args:
        session: of the tab.
        title: what it is, as a heading.
        press: what the button says.
        do: does it.
        revision: what would be active then, whole; its effect over the recent requests is shown. It has no
            number yet where it is made by doing it.
        also: more of what would change.
        drops: what is scheduled, and would not come any more.
        later: whether a time may be given.
        reasoned: whether it must be said why.
        kind: of the button.
        stale: asked again and again, why the question no longer stands; by itself, that another config
            became active.
    """
    stale = stale or _another_is_active(session)
    unfit = None if revision is None else revision.get("unfit")
    with ui.context.client, ui.dialog() as dialog, ui.card().classes("ask").props('role="document"'):
        heading(title)
        with ui.element("div").classes("what"):
            if revision is not None:
                _differences(session, revision)
            html(also or "")
            html(_dropped(drops) if drops else "")
            effect = html('<p class="muted">Looking at what it would change ...</p>').props(
                'aria-live="polite"'
            )
        problem = ui.label().classes("bad-text note").props("role=alert")
        why = ui.textarea("Why (for the audit)").props("outlined dense autogrow autofocus maxlength=2000")
        why.set_visibility(reasoned)
        at = None
        if later:
            at = ui.input("At (UTC; empty for now)").props("outlined dense type=datetime-local stack-label")
        with ui.element("div").classes("bar"):
            ui.element("div").classes("spring")
            button("Cancel", dialog.close)
            go = button(press, lambda: act(), kind)

        def look() -> None:
            since = stale()
            unsaid = reasoned and not (why.value or "").strip()
            go.set_enabled(unfit is None and since is None and not unsaid)
            if unfit is not None:
                problem.set_text(f"The serving bundle could not serve with it: {unfit}")
            if since is not None:
                problem.set_text(since)

        async def act() -> None:
            problem.set_text("")
            go.disable()
            try:
                when = later_ms(at.value, 1000.0 * time.time()) if at is not None and at.value else None
                done = await do(why.value.strip(), when)
            except FulcrumError as error:
                problem.set_text(error.detail if isinstance(error, RefusedError) else str(error))
                go.enable()
                return
            dialog.close()
            ui.notify(done, position="bottom", classes="said")
            await session.watch.look()
            session.changed()

        why.on_value_change(look)
        watching = ui.timer(0.5, look)
        dialog.on("hide", watching.cancel)
        dialog.on("hide", dialog.delete)
        dialog.props["aria-label"] = title
        look()
    dialog.open()
    if revision is None:
        effect.set_content("")
        return
    with contextlib.suppress(RuntimeError):  # the dialog was closed meanwhile
        effect.set_content(await _effect(session, revision))


def _another_is_active(session: Session) -> Callable[[], str | None]:
    active = session.watch.active

    def stale() -> str | None:
        now = session.watch.active
        if now is None or now == active:
            return None
        return f"Revision {now[0]} became active meanwhile. Close this and look at it first."

    return stale


async def _effect(session: Session, revision: Mapping[str, Any]) -> Markup:
    changed, gone = _scenes(session, revision)
    parts = []
    if gone:
        parts.append(Markup("<p><b>Scenes that are removed</b>: {}.</p>").format(", ".join(gone)))
    if len(changed) > _SCENES:
        rest = changed[_SCENES:]
        parts.append(
            Markup("<p>Shown for {} scenes, and {}: {}.</p>").format(
                _SCENES, count(len(rest), "more scene changes", "more scenes change"), ", ".join(rest)
            )
        )
    number = revision["revision"]
    which = {"revision": number} if number is not None else {"config": revision["config"]}
    body: dict[str, Any] = {**which, "recent": _RECENT, "top": _TOP}
    try:
        for scene in changed[:_SCENES] or ([] if gone else ["default"]):
            found = await session.send(control.preview({**body, "scene": scene}))
            parts.append(
                Markup(
                    "<h3>What it changes in scene {}</h3><p>{}</p>"
                    "<details><summary>Tables</summary>{}</details>"
                ).format(scene, in_words(found, _TOP), impact(found, _TOP))
            )
    except FulcrumError as error:
        parts.append(
            Markup('<p class="bad-text">What it would change cannot be said now: {}</p>').format(error)
        )
    return Markup("").join(parts)


def _scenes(session: Session, revision: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Scenes that differ, or are new, and those that are gone."""
    fusion = session.watch.fusion
    before = fusion["config"]["scenes"] if fusion is not None else {}
    after = revision["config"]["scenes"]
    changed = [name for name in after if after[name] != before.get(name)]
    return changed, [name for name in before if name not in after]


def _dropped(schedule: Mapping[str, Any]) -> Markup:
    return Markup(
        '<p class="note"><b>This drops what is scheduled</b>: revision {} at {}, by <bdi>{}</bdi>: '
        "<bdi>{}</bdi></p>"
    ).format(schedule["revision"], moment(schedule["at_ms"]), schedule["actor"], schedule["why"])


def _differences(session: Session, revision: Mapping[str, Any]) -> None:
    if session.watch.fusion is None:
        return
    try:
        lines = differences(session.watch.fusion["config"], revision["config"])
    except FulcrumError as error:
        lines = [str(error)]
    number = session.watch.fusion["revision"]
    heading(f"Against the active revision {number}", 3)
    html(lines_of(lines or ["nothing: the same config"]))


def lines_of(lines: Sequence[str], most: int = 40) -> Markup:
    """Differences, a line each."""
    shown = [*lines[:most], *([f"and {len(lines) - most} more"] if len(lines) > most else [])]
    return Markup('<ul class="lines">{}</ul>').format(
        Markup("").join(Markup("<li>{}</li>").format(one) for one in shown)
    )


def later_ms(text: str, now_ms: float) -> int:
    """The time that was given, Unix time in milliseconds.

    Args:
        text: ISO 8601 without a zone; it is UTC.
        now_ms: the present time, likewise.

    Raises:
        FulcrumError: it is no time, or not in the future.
    """
    try:
        at_ms = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
    except ValueError:
        raise FulcrumError(f"{text} is no time; expected such as 2026-11-28T15:00") from None
    if at_ms <= now_ms:
        raise FulcrumError(
            f"{moment(at_ms)} is not in the future: it is {moment(now_ms)} now; "
            "give a later time, or none to activate at once"
        )
    return at_ms
