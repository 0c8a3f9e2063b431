"""Edge, pure ASGI: what every request gets, whatever its route. Knows no ranking.

An id, in logs and in the answer; a count of its time and outcome; a plain 500 at worst; an end when its
caller has gone; bounds for its body; and an answer to HEAD where GET has one. One layer for all of it, since
each costs every request its calls.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from http import HTTPStatus

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.contract.errors import BodyTooLargeError, EncodingError, OverloadedError, SlowClientError
from service.http.connection import CALLER, Caller
from service.http.problems import problem
from service.telemetry.logs import REQUEST_ID
from service.telemetry.scope import ARRIVED_AT, NAME

_NO_ANSWER = 499
"""The status, by custom, of a request whose caller left before the answer began."""

_SMALL_BYTES = 64 * 1024
"""A body that has no more is small."""

_LARGE_SHARE = 0.75
"""The part of the memory for bodies that large ones may fill; the rest is kept for small ones."""

_PLAIN = {b"", b"identity"}
"""Encodings of a body that need no decoding."""

_PLAIN_ID = re.compile(rb"[\x21-\x7e]{1,128}")

log = structlog.get_logger(__name__)


class Edge:
    """Stands around the application.

    Args:
        app: what is inside.
        report: told route, status and seconds of each request.
        max_bytes: of one body: by its announced length, else as soon as they have come.
        timeout_s: seconds from the end of the head to the end of the body.
        max_bytes_inside: of all bodies whose requests are not answered yet. Where it is reached, the body
            that has been coming for the longest is refused, large ones first.
    """

    def __init__(
        self,
        app: ASGIApp,
        report: Callable[[str, int, float], None],
        max_bytes: int,
        timeout_s: float,
        max_bytes_inside: int,
    ) -> None:
        self.app = app
        self.report = report
        self.max_bytes = max_bytes
        self.timeout_s = timeout_s
        self.max_bytes_inside = max_bytes_inside
        self.bytes_inside = 0
        self.coming: dict[_Exchange, None] = {}
        """Whose body is not whole, the longest under way first."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await _Exchange(self, scope, receive, send).run()

    def make_room(self, newest: _Exchange) -> None:
        """Refuse bodies that are still coming until the newest part fits.

        Raises:
            OverloadedError: it does not, or it is of the body that has been coming for the longest.
        """
        most = self.max_bytes_inside * (_LARGE_SHARE if newest.is_large else 1.0)
        while self.bytes_inside > most:
            longest = next((one for one in self.coming if one.is_large), None)
            if longest is None and not newest.is_large:
                longest = next(iter(self.coming), None)
            if longest is None or longest is newest:
                raise _crowded()
            longest.give_way()


class _Exchange:
    """One request and its answer."""

    def __init__(self, edge: Edge, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ARRIVED_AT] = self._arrived_at = time.perf_counter()
        self._edge = edge
        self._scope = scope
        self._receive = receive
        self._send = send
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"")
        self._id = given if _PLAIN_ID.fullmatch(given) else os.urandom(8).hex().encode()
        announced = headers.get(b"content-length", b"")
        self._too_large = announced.isdigit() and int(announced) > edge.max_bytes
        self._encoding = headers.get(b"content-encoding")
        self._waiting: asyncio.Timeout | None = None
        self._late_at = 0.0
        self._bytes = 0
        self._gave_way = False
        self._status = 0
        self._work = asyncio.current_task()
        self._caller: Caller | None = scope.get(CALLER)
        self._watcher: asyncio.Task[None] | None = None
        self._gone = False

    async def run(self) -> None:
        """To its end, whatever that is."""
        self._scope[NAME] = name = self._id.decode()
        named = REQUEST_ID.set(name)
        scope = self._scope
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # the server, which keeps its own, sends no body
        try:
            await self._edge.app(scope, self.receive, self.send)
        except asyncio.CancelledError:
            if not self._gone or self._work is None or self._work.uncancel():
                raise  # another than us wants the end
        except ClientDisconnect:
            pass  # nobody is left to answer
        except Exception:
            log.exception("request_failed", method=self._scope["method"], path=self._scope["path"])
            if self._status:
                raise
            answer = problem(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "Internal error",
                "the service failed on this request; its log has the request id of this answer",
            )
            await answer(self._scope, self.receive, self.send)
        finally:
            if self._caller is not None:
                self._caller.on_leaving = None
            if self._watcher is not None:
                self._watcher.cancel()
            self._edge.bytes_inside -= self._bytes
            self._edge.coming.pop(self, None)
            # By the route's template: a path of the caller's choice would make a series each.
            self._scope["route"] = scope.get("route")
            route = getattr(scope.get("route"), "path", "other")
            self._edge.report(route, self._status or _NO_ANSWER, time.perf_counter() - self._arrived_at)
            REQUEST_ID.reset(named)

    async def receive(self) -> Message:
        """A part of the body; once it is whole, the caller's leaving ends the work."""
        edge, caller = self._edge, self._caller
        if self._too_large:
            raise self._refusal()
        if self._encoding is not None and self._encoding.strip().lower() not in _PLAIN:
            found = self._encoding.decode("latin-1")
            raise EncodingError(f"send the body as it is, without `content-encoding` (found {found})")
        if caller is not None and caller.is_through:
            message = await self._receive()  # it is there already
        else:
            message = await self._receive_in_time()
        size = len(message.get("body", b""))
        self._bytes += size
        edge.bytes_inside += size
        if self._bytes > edge.max_bytes:
            raise self._refusal()
        is_whole = message["type"] == "http.request" and not message.get("more_body")
        if is_whole:
            edge.coming.pop(self, None)
        else:
            edge.coming[self] = None
        if edge.bytes_inside > edge.max_bytes_inside * _LARGE_SHARE:
            edge.make_room(self)
        if is_whole:
            if caller is not None:
                caller.on_leaving = self._leave
            elif self._watcher is None:  # another server than ours: it says so in a message
                self._watcher = asyncio.create_task(self._watch())
        return message

    @property
    def is_large(self) -> bool:
        """Whether more of its body has come than of a small one."""
        return self._bytes > _SMALL_BYTES

    def give_way(self) -> None:
        """Refuse the body, which is still coming; what has come of it counts no more."""
        self._edge.coming.pop(self, None)
        self._edge.bytes_inside -= self._bytes
        self._bytes = 0
        self._gave_way = True
        if self._waiting is not None:
            self._waiting.reschedule(0.0)

    async def send(self, message: Message) -> None:
        """A part of the answer, its head with the request's id."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            message = {**message, "headers": [*message["headers"], (b"x-request-id", self._id)]}
        await self._send(message)

    async def _receive_in_time(self) -> Message:
        edge = self._edge
        self._late_at = self._late_at or asyncio.get_running_loop().time() + edge.timeout_s
        try:
            async with asyncio.timeout_at(self._late_at) as self._waiting:
                message = await self._receive()
        except TimeoutError:
            if not self._gave_way:
                raise SlowClientError(f"the body did not come within {edge.timeout_s:g} s") from None
        finally:
            self._waiting = None
        if self._gave_way:
            raise _crowded()
        return message

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        if self._work is not None and not self._status:
            self._gone = self._work.cancel()

    def _refusal(self) -> BodyTooLargeError:
        return BodyTooLargeError(
            f"the body has more than {self._edge.max_bytes} bytes, the most this service takes"
        )


def _crowded() -> OverloadedError:
    return OverloadedError(
        "too many bytes of requests are being read; send it at once, or try again later", 1
    )
