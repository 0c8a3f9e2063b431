"""Connection: uvicorn's HTTP protocol, less its patience. Knows no requests.

A head that does not come in time, or does not end, is cut, and so is a caller that does not take its answer:
nobody may hold a connection by a byte a minute.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.problems import PROBLEM_JSON

CALLER = "fulcrum.caller"
"""Key of the scope: whoever is at the other end."""

_MAX_HEAD_BYTES = 64 * 1024


@dataclass(slots=True, eq=False)
class Caller:
    """The other end of a connection, as whoever answers its requests, one after another, sees it.

    Attributes:
        is_through: whether the last request that began has come whole.
        on_leaving: called when the connection is lost.
    """

    is_through: bool = False
    on_leaving: Callable[[], None] | None = None


def impatient_protocol(read_timeout_s: float) -> type[HttpToolsProtocol]:
    """A protocol for `uvicorn.Config(http=...)` that waits so many seconds for a request's head, and for the
    caller to take anything more of its answer.
    """

    class ImpatientProtocol(HttpToolsProtocol):
        _alarm: asyncio.TimerHandle | None = None
        _caller: Caller
        _head_bytes = 0

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._caller = Caller()
            _limit_unsent(transport, read_timeout_s)
            self._alarm = self.loop.call_later(read_timeout_s, self._too_slow)

        def data_received(self, data: bytes) -> None:
            idle = self.cycle is None or self.cycle.response_complete
            if idle:
                if self._alarm is None:
                    self._alarm = self.loop.call_later(read_timeout_s, self._too_slow)
                if self.cycle is None or self._caller.is_through:  # else the rest of a refused body comes
                    self._head_bytes += len(data)
            super().data_received(data)
            if self._alarm is not None and self._head_bytes > _MAX_HEAD_BYTES:
                self._cut(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"more than {_MAX_HEAD_BYTES} bytes")

        def on_message_begin(self) -> None:
            super().on_message_begin()
            self._caller.is_through = False
            self.scope[CALLER] = self._caller  # type: ignore[literal-required]

        def on_headers_complete(self) -> None:
            self._disarm()
            super().on_headers_complete()

        def on_message_complete(self) -> None:
            super().on_message_complete()
            self._caller.is_through = True
            if self.cycle is not None and self.cycle.response_complete:
                self._disarm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)
            if self._caller.on_leaving is not None:
                self._caller.on_leaving()

        def _disarm(self) -> None:
            self._head_bytes = 0
            if self._alarm is not None:
                self._alarm.cancel()
                self._alarm = None

        def _too_slow(self) -> None:
            self._cut(HTTPStatus.REQUEST_TIMEOUT, f"it did not come within {read_timeout_s:g} s")

        def _cut(self, status: HTTPStatus, why: str) -> None:
            silent = not self._head_bytes  # nothing came: nothing is asked
            self._disarm()
            if self.transport.is_closing():
                return
            if silent:
                self.transport.close()
                return
            body: dict[str, Any] = {
                "type": "about:blank",
                "title": status.phrase,
                "status": int(status),
                "detail": f"the request's head: {why}",
            }
            content = orjson.dumps(body)
            head = (
                f"HTTP/1.1 {int(status)} {status.phrase}\r\ncontent-type: {PROBLEM_JSON}\r\n"
                f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
            )
            self.transport.write(head.encode() + content)
            self.transport.close()

    return ImpatientProtocol


def _limit_unsent(transport: asyncio.Transport, seconds: float) -> None:
    """Let the system end a connection on which nothing could be sent for so long."""
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.family != socket.AF_UNIX and hasattr(socket, "TCP_USER_TIMEOUT"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, math.ceil(seconds * 1000))
