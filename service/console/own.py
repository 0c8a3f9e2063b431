"""A page's connection is taken from the browser that opened the page, and from no other."""

from __future__ import annotations

from urllib.parse import parse_qs

from nicegui import Client
from starlette.types import ASGIApp, Receive, Scope, Send

_PATH = "/_nicegui_ws/"


class OwnConnections:
    """Refuses connections that name a page of another browser: its id is in addresses, which get about.

    It lies within the middleware that reads the browser's cookie.

    Args:
        app: what takes the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request or connection."""
        if scope["type"] not in ("http", "websocket") or _PATH not in scope["path"] or _own(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": []})
            await send({"type": "http.response.body", "body": b""})


def _own(scope: Scope) -> bool:
    names = parse_qs(scope["query_string"].decode("latin-1")).get("client_id", [])
    if len(names) != 1:
        return False
    client = Client.instances.get(names[0])
    return client is None or client.request.session.get("id") == scope["session"].get("id")
