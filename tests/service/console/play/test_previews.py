"""Previews that the service cannot compute yet are asked for again, when it says."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from model.client.control import RefusedError
from service.console.play import previews
from service.console.play.previews import Previews

STARTING = "the process that computes previews is still starting"


def test_a_preview_that_is_refused_for_now_is_asked_for_again_after_the_time_that_the_service_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers: list[Any] = [
        RefusedError("503", 503, f"{STARTING}; try again", 5),
        {"sample_id": None, "requests": 0},
    ]
    slept: list[float] = []
    said: list[str | None] = []
    shown: list[Any] = []
    pause = asyncio.sleep

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        await pause(0)

    async def send(_: Any) -> Any:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    session: Any = SimpleNamespace(
        base={}, config={}, scene="default", sample_id=None, send=send, on_edit=[], on_base=[], on_actor=[]
    )

    async def work() -> None:
        asked = Previews(session, shown.append, shown.append, said.append)
        asked.want()
        await asked._task

    monkeypatch.setattr(previews.asyncio, "sleep", sleep)
    asyncio.run(work())
    assert said == [f"{STARTING}; asked again every 5 s", None]
    assert 5 in slept
    assert len(shown) == 2
