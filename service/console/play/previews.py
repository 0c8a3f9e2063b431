"""Previews while someone edits: one at a time, and always of the latest edit. Knows no elements."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from model.client import control
from model.client.control import RefusedError, UnreachableError
from model.errors import FulcrumError
from service.console.session import Session

_PAUSE_S = 0.005
"""What is edited within it is previewed together."""
_AGAIN_S = 1.0
"""Between tries where the service does not say."""
_MOST_S = 30.0
MOST_TOP = 50


class Previews:
    """Asks for what the edited config would change, over all requests of the sample and for one.

    Args:
        session: of the tab.
        show_every: called with the answer of all requests.
        show_one: called with that of one, which comes after it.
        problem: called with why there is none; with None once there is.

    Attributes:
        recent: requests that are asked for.
        top: places that count.
        pick: the request that is looked at, from 0.
        took_s: seconds that the last answer of all requests took.
    """

    def __init__(
        self,
        session: Session,
        show_every: Callable[[Mapping[str, Any]], None],
        show_one: Callable[[Mapping[str, Any]], None],
        problem: Callable[[str | None], None],
    ) -> None:
        self.recent, self.top, self.pick = 300, 10, 0
        self.took_s = 0.0
        self._session, self._problem = session, problem
        self._show_every, self._show_one = show_every, show_one
        self._wanted = self._running = self._closed = False
        session.on_edit.append(self.want)
        session.on_base.append(self.want)
        session.on_actor.append(self.want)

    def want(self) -> None:
        """Something was edited: ask as soon as the last answer has come."""
        if self._session.base is None or self._closed:
            return
        self._wanted = True
        if not self._running:
            self._running = True
            self._task = asyncio.ensure_future(self._run())

    def close(self) -> None:
        """Ask no more."""
        self._closed = True

    async def _run(self) -> None:
        try:
            while self._wanted and not self._closed:
                await asyncio.sleep(_PAUSE_S)
                self._wanted = False
                try:
                    await self._ask()
                except FulcrumError as error:
                    again_s = _again_s(error)
                    self._problem(_in_words(error, again_s))
                    if again_s is not None:
                        self._wanted = True
                        await asyncio.sleep(again_s)
        finally:
            self._running = False

    async def _ask(self) -> None:
        session, began = self._session, time.monotonic()
        body = {"config": session.config, "scene": session.scene, "recent": self.recent, "top": self.top}
        if session.sample_id is not None:
            body["sample_id"] = session.sample_id
        every = await session.send(control.preview(body))
        self.took_s = time.monotonic() - began
        if self._closed:
            return
        self._problem(None)
        self._show_every(every)
        if every["sample_id"] != session.sample_id:
            session.remember_sample(every["sample_id"])
        one: Mapping[str, Any] = {"requests": 0}
        if every["requests"]:
            self.pick %= every["requests"]
            body |= {"sample_id": every["sample_id"], "pick": self.pick}
            one = await session.send(control.preview(body))
        if not self._closed:
            self._show_one(one)


def _again_s(error: FulcrumError) -> float | None:
    """Seconds after which to ask again, as the service says; None where that would change nothing."""
    if isinstance(error, RefusedError) and error.status == HTTPStatus.SERVICE_UNAVAILABLE:
        return _AGAIN_S if error.retry_after_s is None else min(error.retry_after_s, _MOST_S)
    return _AGAIN_S if isinstance(error, UnreachableError) else None


def _in_words(error: FulcrumError, again_s: float | None) -> str:
    says = error.detail if isinstance(error, RefusedError) else str(error)
    return (
        says if again_s is None else f"{says.removesuffix('; try again')}; asked again every {again_s:.0f} s"
    )
