"""The helper's process: it takes turns, it may be stuck or killed, and whoever asks may leave."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.contract.errors import OverloadedError
from service.preview import process
from service.preview.frames import frame
from service.preview.process import HelperProcess
from tests.support.service_process import wait_until

CONFIG = {"schema_version": 1, "scenes": {"default": {"tasks": {"vtr": {"weight": 1.0}}}}}
QUESTION: dict[str, Any] = {
    "kind": "recent", "base": "b", "version": "v", "revision": None, "networks": [], "field": "config",
    "config": CONFIG, "sample": None, "recent": 5, "scene": "default", "pick": None, "top": 3, "ids": True,
}  # fmt: skip


async def told(missing: dict[str, Any]) -> list[bytes]:
    assert missing == {"base": True, "networks": []}
    return [frame({"kind": "base", "base": "b", "config": CONFIG, "tasks": ["vtr"], "features": []})]


async def asked(helper: HelperProcess) -> dict[str, Any]:
    for _ in range(6):  # a busy machine starts it late
        try:
            reply, answer = await helper.ask(QUESTION, b"", told)
        except OverloadedError:
            continue
        assert reply == {}
        return orjson.loads(answer)
    raise AssertionError("the helper did not start")


@pytest.mark.slow
def test_a_stuck_helper_is_replaced_an_idle_one_ends_and_nobody_waits_for_either(
    monkeypatch: pytest.MonkeyPatch,
):
    async def run() -> None:
        helper = HelperProcess()
        asks = asyncio.create_task(helper.ask(QUESTION, b"", told))
        while helper.pid is None or os.sched_getscheduler(helper.pid) != os.SCHED_IDLE:
            await asyncio.sleep(0.01)
        asks.cancel()
        helper.close()

        monkeypatch.setattr(HelperProcess, "priority", "normal")
        helper = HelperProcess()
        answer = await asked(helper)
        assert answer["requests"] == 0
        first = helper.pid
        assert first is not None

        leaving = asyncio.create_task(helper.ask(QUESTION, b"", told))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        leaving.cancel()
        assert await asked(helper) == answer
        assert helper.pid == first

        os.kill(first, signal.SIGSTOP)
        with monkeypatch.context() as patched:
            patched.setattr(process, "MOST_S", 0.3)
            with pytest.raises(OverloadedError, match="took more than"):
                await helper.ask(QUESTION, b"", told)
        assert await asked(helper) == answer  # by another one
        second = helper.pid
        assert second not in (None, first)
        with monkeypatch.context() as patched:
            patched.setattr(process, "MOST_WAITING", 0)
            with pytest.raises(OverloadedError, match="previews wait"):
                await helper.ask(QUESTION, b"", told)

        assert second is not None
        os.kill(second, signal.SIGKILL)
        assert await asked(helper) == answer  # at once, or at the next try
        third = helper.pid
        assert third not in (None, second)
        assert third is not None
        os.kill(third, signal.SIGSTOP)
        waits = asyncio.create_task(helper.ask(QUESTION, b"", told))
        await asyncio.sleep(0.05)
        helper.close()  # as the service does when it stops
        with pytest.raises(OverloadedError):
            await waits
        with pytest.raises(OverloadedError, match="stopping"):
            await helper.ask(QUESTION, b"", told)
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in (first, second, third)))

        helper = HelperProcess(idle_s=0.01)
        assert await asked(helper) == answer
        await asyncio.sleep(0.1)
        assert helper.pid is None

    asyncio.run(run())
