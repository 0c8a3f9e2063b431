"""Load: requests, and what came back. Knows HTTP, no ranking.

`Callers` can keep to a schedule whatever becomes of their requests: an open loop, where a service that slows
down does not slow its callers down, as in real life. `Line` is one caller with next to no work of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import orjson

__all__ = ["Callers", "Line", "Reply", "bodies_for", "milliseconds"]


@dataclass(frozen=True)
class Reply:
    """What became of a request.

    Attributes:
        began: when it was due, of `time.perf_counter`.
        seconds: from then to the end of its answer.
        status: of HTTP, 0 without an answer.
        body: the answer's.
        refused: whether nobody listened.
    """

    began: float
    seconds: float
    status: int
    body: bytes
    refused: bool = False

    @property
    def answer(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)

    @property
    def degraded(self) -> list[str]:
        """Why the ranking is degraded."""
        return list(self.answer["degraded"]) if self.status == 200 else []


class Callers:
    """Connections to one service, as many as are needed at a time."""

    def __init__(self, url: str) -> None:
        self._host, _, port = url.removeprefix("http://").partition(":")
        self._port = int(port)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    @property
    def kept(self) -> bool:
        """Whether the next request goes over a connection that was used before."""
        return bool(self._idle)

    async def post(self, body: bytes, path: str = "/v1/rank", due: float | None = None) -> Reply:
        """One request."""
        began = time.perf_counter() if due is None else due
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        status, answer, refused = 0, b"", False
        try:
            status, answer = await self._exchange(
                f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
            )
        except ConnectionRefusedError:
            refused = True
        except (OSError, asyncio.IncompleteReadError):
            pass
        return Reply(began, time.perf_counter() - began, status, answer, refused)

    async def at_rate(self, rate: float, seconds: float, body: Callable[[int], bytes]) -> list[Reply]:
        """Requests at equal distances for so long; the replies in the order of the requests."""
        return await self.on_schedule([number / rate for number in range(int(rate * seconds))], body)

    async def on_schedule(
        self, offsets_s: Sequence[float], body: Callable[[int], bytes], spin_s: float = 0.0
    ) -> list[Reply]:
        """Requests at these seconds from now on; the replies in the order of the requests.

        Args:
            offsets_s: when they are due, ascending.
            body: of each, by its number.
            spin_s: the last of each wait, in which the loop turns without a pause: timers are late by a
                millisecond or two. For a caller who has a core alone.
        """
        began, running = time.perf_counter(), []
        for number, offset_s in enumerate(offsets_s):
            due = began + offset_s
            if (ahead := due - time.perf_counter() - spin_s) > 0:
                await asyncio.sleep(ahead)
            while spin_s and time.perf_counter() < due:
                await asyncio.sleep(0)
            running.append(asyncio.create_task(self.post(body(number), due=due)))
        return list(await asyncio.gather(*running))

    async def one_after_another(self, callers: int, bodies: Iterable[bytes]) -> list[Reply]:
        """A closed loop of so many callers, who take their bodies from one supply."""
        supply, replies = iter(bodies), list[Reply]()

        async def call() -> None:
            for body in supply:
                reply = await self.post(body)
                replies.append(reply)

        await asyncio.gather(*(call() for _ in range(callers)))
        return replies

    async def close(self) -> None:
        """Let go of the connections that are idle."""
        while self._idle:
            _, writer = self._idle.pop()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        while self._idle and self._idle[-1][0].at_eof():
            self._idle.pop()[1].close()  # the service closes what was idle for long
        reader, writer = self._idle.pop() if self._idle else await self._connect()
        try:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
        except BaseException:
            writer.close()
            raise
        if b"connection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head[9:12]), body

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._host, self._port, limit=1 << 22)


class Line:
    """One kept connection of one caller, who blocks; made anew where the service closed it."""

    def __init__(self, url: str, timeout_s: float = 60.0) -> None:
        host, _, port = url.removeprefix("http://").partition(":")
        self._address, self._timeout_s = (host, int(port)), timeout_s
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def post(self, body: bytes, path: str = "/v1/rank") -> Reply:
        """One request; status 0 where there was no answer."""
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        request = f"{head}content-length: {len(body)}\r\n\r\n".encode() + body
        began = time.perf_counter()
        # What was kept may have been closed since: one more try on a new connection.
        for _ in range(2 if self._socket else 1):
            try:
                status, answer = self._exchange(request)
            except OSError:
                self._close()
            else:
                return Reply(began, time.perf_counter() - began, status, answer)
        return Reply(began, time.perf_counter() - began, 0, b"")

    def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._socket is None:
            self._socket = socket.create_connection(self._address, self._timeout_s)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(request)
        received = bytearray()
        while (end := received.find(b"\r\n\r\n")) < 0:
            received += self._more(self._socket)
        head = bytes(received[:end]).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(received) < end + 4 + length:
            received += self._more(self._socket)
        if b"connection: close" in head:
            self._close()
        return int(head[9:12]), bytes(received[end + 4 :])

    @staticmethod
    def _more(source: socket.socket) -> bytes:
        part = source.recv(1 << 18)
        if not part:
            raise ConnectionError("the service closed the connection")
        return part

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def bodies_for(seconds: float, body: Callable[[int], bytes]) -> Iterator[bytes]:
    """One body after another, by its number, until so many seconds from now are over."""
    ends = time.perf_counter() + seconds
    number = 0
    while time.perf_counter() < ends:
        yield body(number)
        number += 1


def milliseconds(replies: Iterable[Reply], *percentiles: float) -> str:
    """Percentiles of the replies' times: `12.1 / 30.4`."""
    seconds = [reply.seconds for reply in replies]
    if not seconds:
        return ""
    return " / ".join(f"{value * 1e3:.1f}" for value in np.percentile(seconds, percentiles))
