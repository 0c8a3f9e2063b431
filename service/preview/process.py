"""Process: the worker's end of the helper (service/preview/answering.py), which it starts, asks and ends.

One question at a time, a few that wait, and none for long. The helper starts with the first question and ends
when there was none for a while; one that died or took too long is replaced at the next question. It ends with
its worker, whatever becomes of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import structlog

from service.contract.errors import OverloadedError
from service.preview.frames import SIZES, Head, frame

MOST_WAITING = 10
"""Questions that wait at most."""
MOST_S = 10.0
"""Seconds that an answer may take, and as many that a question may wait."""
_IDLE_S = 60.0
_MEMORY_BYTES = 768 << 20
"""That the helper may map beyond its code: a sample of the largest size needs about a third."""
_MOST_REPLY = 64 << 20
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    # Else each array of some MiB is mapped anew, page by page: a fifth of the time.
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(256 << 20),
}

_Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Missing = Callable[[dict[str, Any]], Awaitable[list[bytes]]]
"""Gives the frames that say what a reply named as missing."""

log = structlog.get_logger(__name__)


class HelperProcess:
    """A helper, while there are questions.

    Args:
        idle_s: seconds without a question after which it ends.

    Attributes:
        priority: of the process: idle, below all that ranks, or normal, for tests, where no core is idle.
    """

    priority = "idle"

    def __init__(self, idle_s: float = _IDLE_S) -> None:
        self._idle_s = idle_s
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._closed = False
        self._process: subprocess.Popen[bytes] | None = None
        self._line: _Line | None = None
        self._starting: asyncio.Task[_Line] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[Any]] = set()

    @property
    def pid(self) -> int | None:
        """Of the helper; None while there is none."""
        return None if self._process is None else self._process.pid

    def check_room(self) -> None:
        """Raise OverloadedError if a question could not even wait: before anything is done for it."""
        if self._waiting >= MOST_WAITING:
            raise OverloadedError(f"{self._waiting} previews wait; try again later", 1)

    async def ask(self, head: Head, body: bytes, missing: Missing) -> tuple[Head, bytes]:
        """The reply to a question.

        Args:
            head, body: the question.
            missing: says what the helper has forgotten of what the question refers to.

        Raises:
            OverloadedError: too many questions wait, or the helper died or took too long.
        """
        self.check_room()
        self._waiting += 1
        try:
            async with asyncio.timeout(MOST_S):
                await self._turn.acquire()
        except TimeoutError:
            raise OverloadedError("a preview would wait too long; try again later", 1) from None
        finally:
            self._waiting -= 1
        # One whose caller leaves is answered all the same: half a frame would spoil the next one.
        task = asyncio.create_task(self._exchange(head, body, missing))
        self._running.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    def close(self) -> None:
        """End the helper at once, and start none any more; whoever waits for an answer is refused."""
        self._closed = True
        self._end()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        self._turn.release()
        if not task.cancelled():
            task.exception()  # whoever asked may have left

    async def _exchange(self, head: Head, body: bytes, missing: Missing) -> tuple[Head, bytes]:
        if self._alarm is not None:
            self._alarm.cancel()
        line = await self._open_line()
        try:
            async with asyncio.timeout(MOST_S):
                reply = await _reply(line, frame(head, body))
                if "missing" in reply[0]:
                    told = await missing(reply[0]["missing"])
                    reply = await _reply(line, b"".join([*told, frame(head | {"told": True}, body)]))
        except TimeoutError:
            self._end()
            raise OverloadedError(
                f"a preview took more than {MOST_S:g} s; try fewer requests, or when there is less to rank", 5
            ) from None
        except (OSError, EOFError) as error:
            log.warning("preview_helper_died", error=str(error))
            self._end()
            raise OverloadedError("the process that computes previews ended; try again", 1) from error
        except BaseException:
            self._end()  # it may be in the middle of a frame
            raise
        self._alarm = asyncio.get_running_loop().call_later(self._idle_s, self._end)
        return reply

    async def _open_line(self) -> _Line:
        """The way to the helper, once it is ready. One that takes long to start goes on starting."""
        if self._closed:
            raise _stopping()
        if self._process is not None and self._process.poll() is not None:
            self._end()  # it died while nobody asked
        if self._line is not None:
            return self._line
        if self._starting is None:
            self._starting = asyncio.create_task(self._begin())
        starting = self._starting
        await asyncio.wait({starting}, timeout=MOST_S)
        if not starting.done():
            raise OverloadedError("the process that computes previews is still starting; try again", 5)
        self._starting = None
        if starting.cancelled():
            raise _stopping()
        try:
            self._line = starting.result()
        except (OSError, EOFError) as error:
            self._end()
            log.warning("preview_helper_died", error=str(error))
            raise OverloadedError("the process that computes previews did not start; try again", 5) from error
        return self._line

    async def _begin(self) -> _Line:
        own, other = socket.socketpair()
        try:
            with other:
                self._process = await asyncio.to_thread(_start, other, self.priority)
            line = await asyncio.open_connection(sock=own)
        except BaseException:
            own.close()
            raise
        try:
            await _reply(line, b"")
        except BaseException:
            line[1].close()
            raise
        return line

    def _end(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self._starting is not None:
            self._starting.cancel()
        if self._line is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._line[1].close()
        if self._process is not None:
            self._process.kill()
            # Even to end, it takes only what cores nobody else wants.
            threading.Thread(target=self._process.wait, daemon=True).start()
        self._process = self._line = self._starting = None


def _stopping() -> OverloadedError:
    return OverloadedError("the service is stopping, and answers no previews any more", 5)


def _start(line: socket.socket, priority: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", "service.preview", str(os.getpid()), str(_MEMORY_BYTES), priority],
        stdin=line.fileno(),
        stdout=subprocess.DEVNULL,
        env={**os.environ, **_ENVIRONMENT, "PYTHONPATH": os.pathsep.join(sys.path)},
        # A key that interrupts the service is not its business; a session of its own would be a group of its
        # own to the scheduler (sched(7), autogroup), in which no niceness counts towards others.
        process_group=0,
    )


async def _reply(line: _Line, sent: bytes) -> tuple[Head, bytes]:
    reader, writer = line
    writer.write(sent)
    await writer.drain()
    sizes = SIZES.unpack(await reader.readexactly(SIZES.size))
    if sum(sizes) > _MOST_REPLY:
        raise OSError(f"a reply of {sum(sizes)} bytes")
    head = await reader.readexactly(sizes[0])
    return orjson.loads(head), await reader.readexactly(sizes[1])
