"""The console as a process: pages on a port, which ask the service and nobody else."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import uvicorn
from fastapi import FastAPI
from nicegui import app as pages
from nicegui import ui

from model.client import control
from model.errors import FulcrumError
from service.console.kept import Browsers
from service.console.own import OwnConnections
from service.console.page import Page
from service.console.watch import Watch

_CSS = Path(__file__).with_name("console.css")
_KEPT_S = 12 * 3600.0
"""How long a tab's token and edits are kept after its last edit."""
_ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M1 5h14" stroke="#0a58a6" '
    'stroke-width="2"/><path d="M8 6l5 9H3z" fill="#0a58a6"/></svg>'
)


def run(url: str, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Show the console until the process is asked to end.

    Args:
        url: of the service; it may be away, and come later.
        host: to listen at.
        port: to listen at; 0 takes a free one.

    Raises:
        FulcrumError: `url` is no address, or the port cannot be had.
    """
    service = control.AsyncControl(url)
    listener = _listener(host, port)
    shown = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
    watch, browsers = Watch(service), Browsers(_KEPT_S)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await watch.look()
        watching = asyncio.create_task(watch.run())
        print(f"Fulcrum console for {service.shown} on {shown}", flush=True)  # noqa: T201
        yield
        watching.cancel()
        await service.close()

    app = FastAPI(lifespan=lifespan, openapi_url=None)

    @app.get("/readyz")
    def ready() -> dict[str, str]:
        return {"status": "ready", "service": "reachable" if watch.problem is None else "away"}

    @ui.page("/", title="Fulcrum console", response_timeout=30.0)
    async def page() -> None:
        await Page(watch, service.shown, browsers.browser(pages.storage.browser["id"])).build()

    pages.storage.max_tab_storage_age = _KEPT_S
    pages.config.quasar_config["loadingBar"] = {"skipHijack": True}  # it has no name, and says nothing here
    ui.add_css(_CSS.read_text(), shared=True)
    for element in (ui.dialog, ui.select):
        element.default_props("transition-duration=0")  # who is asked, and who chooses, waits for no picture
    pages.add_middleware(OwnConnections)
    ui.run_with(
        app,
        title="Fulcrum console",
        favicon=_ICON,
        dark=None,
        language="en-US",
        tailwind=False,
        reconnect_timeout=60.0,
        show_welcome_message=False,
        binding_refresh_interval=None,
        storage_secret=secrets.token_hex(32),  # signs the cookie that says which browser it is
        session_middleware_kwargs={"same_site": "strict", "session_cookie": "fulcrum_console"},
    )
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=2
    )
    uvicorn.Server(config).run(sockets=[listener])


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(256)
    except OSError as error:
        listener.close()
        raise FulcrumError(
            f"cannot listen at {host} port {port}: {error.strerror or error}; give another --port or --host"
        ) from None
    return listener
