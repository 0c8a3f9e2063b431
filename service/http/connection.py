"""Connection: uvicorn's HTTP protocol, less its patience and its trust. Knows no requests.

A head that does not come in time, or does not end, is cut, and so is a caller that does not take its answer:
nobody may hold a connection by a byte a minute. Where connections run out, the one that has been waited for
the longest is closed. An upgrade to another protocol is not offered, so the wish for one is ignored.
"""

from __future__ import annotations

import asyncio
import math
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

import httptools
import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.http.problems import PROBLEM_JSON
from service.telemetry.metrics import Cut

CALLER = "fulcrum.caller"
"""Key of the scope: whoever is at the other end."""

MAX_HEAD_BYTES = 64 * 1024
"""Of a request's head, and of what stands between two pieces of its body or after the last."""

_MOST_AHEAD = 64
"""Requests of a connection that may wait for the answers to those before."""

_UNSENT_BYTES = 128 * 1024
"""Bytes of answers that the system holds for a connection; what is beyond stays here and is known to be."""

_LOOK_S = 0.01
"""Seconds until the first look whether a caller that sends no more is gone; each pause is twice the last."""

_LONGEST_LOOK_S = 1.0
_GONE = 7
"""State of a TCP connection that was reset."""


@dataclass(slots=True, eq=False)
class Caller:
    """The other end of a connection, as whoever answers its requests, one after another, sees it.

    Attributes:
        is_through: whether the last request that began has come whole.
        on_leaving: called when the connection is lost.
    """

    is_through: bool = False
    on_leaving: Callable[[], None] | None = None


def impatient_protocol(
    read_timeout_s: float, max_connections: int, report: Callable[[Cut], None]
) -> type[HttpToolsProtocol]:
    """A protocol for `uvicorn.Config(http=...)`.

    Args:
        read_timeout_s: seconds in which a request's head must have come, and an answer must be taken.
        max_connections: open at a time.
        report: told why a connection was ended from here.
    """

    class ImpatientProtocol(_Connection):
        pass

    ImpatientProtocol.timeout_s = read_timeout_s
    ImpatientProtocol.most = max_connections
    ImpatientProtocol.report = staticmethod(report)
    ImpatientProtocol.awaited = {}
    return ImpatientProtocol


class _Connection(HttpToolsProtocol):
    """One connection.

    Attributes:
        awaited: connections from which something must come before there is work, the longest awaited first.
    """

    timeout_s: ClassVar[float]
    most: ClassVar[int]
    report: Callable[[Cut], None]
    awaited: ClassVar[dict[_Connection, None]]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._socket = _tcp_socket(transport)
        self._caller = Caller()
        self._begun = self._in_body = self._refused = False
        self._loose_bytes = 0  # since the last whole head or piece of a body
        self._taking: asyncio.TimerHandle | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._limit_unsent()
        self._arm()
        self.awaited[self] = None
        if len(self.connections) > self.most:
            next(iter(self.awaited))._make_room()

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        if self.cycle is None or self.cycle.response_complete:
            self._arm()
        self._unset_keepalive_if_required()
        self._loose_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._refuse("malformed", HTTPStatus.BAD_REQUEST, f"it is not valid HTTP/1.1: {error}")
            return
        if self._loose_bytes > MAX_HEAD_BYTES:
            why = f"more than {MAX_HEAD_BYTES} bytes"
            self._refuse("head_too_large", HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, why)

    def eof_received(self) -> bool:  # type: ignore[override]
        """A caller may end its side and still wait for the answer to what it sent; else all is over."""
        if self._begun or self.cycle is None or self.cycle.response_complete:
            return False
        self.cycle.keep_alive = False
        # A caller that is gone ends its side, too. It tells by its answer to anything that is sent.
        if self.scope["http_version"] == "1.1" and not self.cycle.response_started:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._look(_LOOK_S)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        if self._taking is not None:
            self._taking.cancel()
        self.awaited.pop(self, None)
        super().connection_lost(exc)
        if self._caller.on_leaving is not None:
            self._caller.on_leaving()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun, self._in_body = True, False
        self._caller.is_through = False
        self.scope[CALLER] = self._caller  # type: ignore[literal-required]

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # trailers are nobody's, and would pass for headers
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._wants_upgrade():
            return
        if len(self.pipeline) >= _MOST_AHEAD:
            raise ValueError(f"more than {_MOST_AHEAD} requests ahead of their answers")
        super().on_headers_complete()
        self._disarm()
        self._in_body = True

    def on_body(self, body: bytes) -> None:
        self._loose_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._wants_upgrade():
            return
        self._disarm()
        self._begun = self._in_body = False
        self._caller.is_through = True
        self.awaited.pop(self, None)
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.cycle.response_complete:  # else one that came after it waits for its own
            self.awaited[self] = None
            if self._begun:
                self._arm()
        if self._taking is None and self.transport.get_write_buffer_size():
            self._taking = self.loop.call_later(self.timeout_s, self._not_taken)

    def _feed(self, data: bytes) -> None:
        """Read what has come, without regard to wishes for another protocol.

        The parser would skip the body after such a wish: so a new one reads the head again, without it.
        """
        rest = memoryview(data)
        while rest:
            try:
                self.parser.feed_data(rest)
                return
            except httptools.HttpParserUpgrade as stop:
                rest = rest[stop.args[0] :]
            head = [
                self.parser.get_method(),
                b" ",
                self.url,
                b" HTTP/",
                self.parser.get_http_version().encode(),
            ]
            for name, value in self.headers:
                if name != b"upgrade":
                    head += [b"\r\n", name, b": ", value]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
            self.parser.feed_data(b"".join([*head, b"\r\n\r\n"]))

    def _wants_upgrade(self) -> bool:
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def _arm(self) -> None:
        if self._alarm is None:
            self._alarm = self.loop.call_later(self.timeout_s, self._too_slow)

    def _disarm(self) -> None:
        self._loose_bytes = 0
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _too_slow(self) -> None:
        why = f"it did not come within {self.timeout_s:g} s"
        self._refuse("head_too_slow", HTTPStatus.REQUEST_TIMEOUT, why)

    def _make_room(self) -> None:
        if self.transport.get_write_buffer_size():
            self._not_taken()
            return
        why = f"it was awaited for the longest of {self.most} connections, the most at a time"
        self._refuse("too_many_connections", HTTPStatus.SERVICE_UNAVAILABLE, why)

    def _refuse(self, reason: Cut, status: HTTPStatus, why: str) -> None:
        """End the connection because of the message that comes, or does not; whole ones get their answers."""
        cycle, asked, in_body = self.cycle, bool(self._loose_bytes) or self._begun, self._in_body
        self._disarm()
        self._refused = True
        self.awaited.pop(self, None)
        if asked or reason == "too_many_connections":
            self.report(reason)
        if cycle is not None and not cycle.response_complete and not in_body:
            cycle.keep_alive = False  # closes after the answer
            return
        answered = in_body and (cycle.response_started or self.pipeline)
        if asked and not answered and not self.transport.is_closing():
            self._write_problem(status, f"the request's {'body' if in_body else 'head'}: {why}")
            if in_body:
                cycle.disconnected = True  # its answer is out
        self.transport.close()

    def _write_problem(self, status: HTTPStatus, detail: str) -> None:
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": status.phrase,
            "status": int(status),
            "detail": detail,
        }
        content = orjson.dumps(body)
        head = (
            f"HTTP/1.1 {int(status)} {status.phrase}\r\ncontent-type: {PROBLEM_JSON}\r\n"
            f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + content)

    def _look(self, pause_s: float) -> None:
        """Whether a caller that sends no more is there; again until it has its answer or is gone."""

        def look() -> None:
            if self._socket is None or self.cycle.response_started or self.transport.is_closing():
                return
            if self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _GONE:
                self.transport.abort()
            else:
                self._look(min(2 * pause_s, _LONGEST_LOOK_S))

        self.loop.call_later(pause_s, look)

    def _not_taken(self) -> None:
        self._taking = None
        if not self.transport.get_write_buffer_size():
            return
        self.report("answer_not_taken")
        if self._socket is not None:  # what the system holds of the answer goes, too
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _limit_unsent(self) -> None:
        """Let the system end a connection on which nothing could be sent for so long, and hold little."""
        if self._socket is not None:
            timeout_ms = math.ceil(self.timeout_s * 1000)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES)


def _tcp_socket(transport: asyncio.Transport) -> socket.socket | None:
    """What Linux's options of TCP can be set on; None elsewhere."""
    found: socket.socket | None = transport.get_extra_info("socket")
    return found if found is not None and sys.platform == "linux" and found.family != socket.AF_UNIX else None
