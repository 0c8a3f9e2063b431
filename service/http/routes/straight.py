"""A route straight from ASGI: what is asked often does not pay for the framework. Knows no contract."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from starlette.types import ASGIApp, Receive, Scope, Send

from service.contract.errors import ServiceError
from service.http.bodies import JSON
from service.http.replies import refused

SMALL_BYTES = 64 * 1024
"""Bodies that are read on the event loop: some 5,000 ids, some 1,000 candidates with features."""

Answer = tuple[bytes, Callable[[], None] | None]
"""A body of JSON, and what is to be done once it is on its way."""


class StraightRoute(ABC):
    """Answers posts to one path, and passes on all else."""

    path: str

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    @abstractmethod
    async def answer(self, scope: Scope, receive: Receive) -> Answer:
        """The answer to one request.

        Raises:
            ServiceError: there is none.
        """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["path"] != self.path or scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        scope["route"] = self
        try:
            body, afterwards = await self.answer(scope, receive)
        except ServiceError as error:
            await refused(error, scope["app"].state)(scope, receive, send)
            return
        headers = [(b"content-length", str(len(body)).encode()), (b"content-type", JSON)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        if afterwards is not None:
            afterwards()
