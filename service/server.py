"""The server process: load and prove everything, then listen. Knows uvicorn; nothing of ranking."""

from __future__ import annotations

import contextlib
import gc
import socket
import sys

import structlog
import uvicorn

from model.errors import FulcrumError
from service.app import create_app
from service.logs import configure_logs
from service.metrics import Metrics
from service.settings import Settings
from service.startup import load_service

__all__ = ["run"]

_DRAIN_S = 10
"""Seconds that running requests have to end after a signal to stop."""

log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        FulcrumError: something cannot be loaded, or the port is taken. Nothing listened until then.
    """
    configure_logs(settings.log_format)
    service = load_service(settings, Metrics())
    # What is loaded stays: the collector need not walk it again, which would stop a request for 50 ms.
    gc.collect()
    gc.freeze()
    listener = _listen(settings.host, settings.port)
    url = _url(listener)
    log.info(
        "serving",
        url=url,
        bundle=service.active.bundle.version,
        fusion=service.fusion.state.active.version,
        generation=service.active.store.generation,
        provider=service.active.engine.provider,
        threads=settings.threads,
    )
    config = uvicorn.Config(
        create_app(service=service),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
        timeout_graceful_shutdown=_DRAIN_S,
    )
    greeting = f"Fulcrum serves {service.active.bundle.manifest.name} on {url}\n"
    # uvicorn drains on SIGINT, then raises it again.
    with contextlib.suppress(KeyboardInterrupt):
        _Server(config, greeting).run([listener])


class _Server(uvicorn.Server):
    """Says on stdout where it listens, once it does."""

    def __init__(self, config: uvicorn.Config, greeting: str) -> None:
        super().__init__(config)
        self._greeting = greeting

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write(self._greeting)
        sys.stdout.flush()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family)
    except OSError as error:
        raise FulcrumError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
