"""Middleware, pure ASGI: what every request gets, whatever its route. Knows no ranking.

Outermost first: `RequestId`, `Measured`, `LastResort`, `Abandoned`, `BodyLimit`.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable
from http import HTTPStatus

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLargeError, OverloadedError, SlowClientError, problem

__all__ = ["ARRIVED_AT", "Abandoned", "BodyLimit", "LastResort", "Measured", "RequestId"]

ARRIVED_AT = "fulcrum.arrived_at"
"""Key of the scope: `time.perf_counter` when the request's head had been read."""

_NO_ANSWER = 499
"""The status, by custom, of a request whose caller left before the answer began."""

_PLAIN_ID = re.compile(r"[\x21-\x7e]{1,128}")

log = structlog.get_logger(__name__)


class RequestId:
    """Gives each request an id, the caller's `X-Request-ID` if it is plain: in logs and in the answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        scope[ARRIVED_AT] = time.perf_counter()
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _PLAIN_ID.fullmatch(given) else secrets.token_hex(8)

        async def send_named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self.app(scope, receive, send_named)


class Measured:
    """Reports route, status and seconds of each request."""

    def __init__(self, app: ASGIApp, report: Callable[[str, int, float], None]) -> None:
        self.app = app
        self.report = report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = _NO_ANSWER

        async def send_seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_seen)
        finally:
            # By the route's template: a path of the caller's choice would make a series each.
            route = getattr(scope.get("route"), "path", "other")
            self.report(route, status, time.perf_counter() - scope[ARRIVED_AT])


class LastResort:
    """Turns what nobody expected into a plain 500, and logs it with its trace."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False

        async def send_seen(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive, send_seen)
        except ClientDisconnect:
            pass  # nobody is left to answer
        except Exception:
            log.exception("request_failed", method=scope["method"], path=scope["path"])
            if started:
                raise
            answer = problem(
                HTTPStatus.INTERNAL_SERVER_ERROR,
                "Internal error",
                "the service failed on this request; its log has the request id of this answer",
            )
            await answer(scope, receive, send)


class Abandoned:
    """Stops the work on a request whose caller has gone."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        work = asyncio.current_task()
        watcher: asyncio.Task[None] | None = None
        gone = answered = False

        async def watch() -> None:
            nonlocal gone
            while (await receive())["type"] != "http.disconnect":
                pass
            if work is not None and not answered:
                gone = work.cancel()

        async def receive_watched() -> Message:
            nonlocal watcher
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body") and watcher is None:
                watcher = asyncio.create_task(watch())
            return message

        async def send_watched(message: Message) -> None:
            nonlocal answered
            answered = answered or message["type"] == "http.response.start"
            await send(message)

        try:
            await self.app(scope, receive_watched, send_watched)
        except asyncio.CancelledError:
            if not gone or work is None or work.uncancel():
                raise  # another than us wants the end
        finally:
            if watcher is not None:
                watcher.cancel()


class BodyLimit:
    """Refuses a body above the limit, one that does not come in time, and any while too many bytes wait.

    Args:
        app: what is inside.
        max_bytes: of one body: by its announced length, else as soon as they have come.
        timeout_s: seconds from the end of the head to the end of the body.
        max_bytes_inside: of all bodies whose requests are not answered yet.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, timeout_s: float, max_bytes_inside: int) -> None:
        self.app = app
        self.max_bytes = max_bytes
        self.timeout_s = timeout_s
        self.max_bytes_inside = max_bytes_inside
        self.bytes_inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        too_large = announced.isdecimal() and int(announced) > self.max_bytes
        late = asyncio.get_running_loop().time() + self.timeout_s
        came = 0

        async def receive_limited() -> Message:
            nonlocal came
            if too_large:
                raise self._too_large()
            try:
                async with asyncio.timeout_at(late):
                    message = await receive()
            except TimeoutError:
                raise SlowClientError(f"the body did not come within {self.timeout_s:g} s") from None
            size = len(message.get("body", b""))
            came += size
            self.bytes_inside += size
            if came > self.max_bytes:
                raise self._too_large()
            if self.bytes_inside > self.max_bytes_inside:
                raise OverloadedError("too many bytes of requests are being read; try again later", 1)
            return message

        try:
            await self.app(scope, receive_limited, send)
        finally:
            self.bytes_inside -= came

    def _too_large(self) -> BodyTooLargeError:
        return BodyTooLargeError(
            f"the body has more than {self.max_bytes} bytes, the most this service takes"
        )
