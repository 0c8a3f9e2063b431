"""The server process: load and prove everything, then listen. Knows uvicorn; nothing of ranking.

Several workers are several such processes on one socket: see `service/processes/workers.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable

import structlog
import uvicorn

from model.cores import available_cores
from service.http.app import create_app
from service.http.connection import impatient_protocol
from service.processes.fleet import Fleet
from service.processes.listener import BACKLOG, bind, listen, most_connections, refuse_newcomers, url_of
from service.processes.memory import bound_heaps
from service.processes.workers import supervise
from service.settings import Settings
from service.startup import Service, import_parts, load_service
from service.telemetry.log_writer import LogWriter
from service.telemetry.logs import configure_logs
from service.telemetry.metrics import Metrics

DRAIN_S = 10
"""Seconds that running requests have to end after a signal to stop."""

_ACCEPT_S = 0.05
"""Seconds after that signal in which connections are accepted that had begun."""

_FAREWELL_S = 0.25
"""Seconds after these in which open connections may still ask, and are told that it was the last time."""

_OTHER_FILES = 256
"""Open files beside connections: the bundle, the store, watches, logs."""

_BEAT_TICKS = 10
"""Ticks of uvicorn, a tenth of a second each, between two heartbeats."""

log = structlog.get_logger(__name__)


def run(settings: Settings) -> None:
    """Serve until SIGINT, SIGTERM or, unless it is ignored, SIGHUP.

    Raises:
        FulcrumError: something cannot be loaded, or the port is taken. Nothing listened until then.
    """
    logs = configure_logs(settings.log_format)
    drain_on_hangup()
    import_parts(settings)
    gc.freeze()  # what is imported stays: workers share its pages until somebody writes to them
    with bind(settings.host, settings.port) as listener:
        url = url_of(listener)

        def greet(name: str) -> None:
            sys.stdout.write(f"Fulcrum serves {name} on {url}\n")
            sys.stdout.flush()

        def work(fleet: Fleet, ready: Callable[[str], None]) -> None:
            try:
                _serve(settings, listener, logs, fleet, ready, os.getppid())
            finally:
                logs.flush()

        if settings.workers == 1:
            _serve(settings, listener, logs, Fleet(), greet)
        else:
            supervise(settings.workers, listener, work, greet, DRAIN_S)


def drain_on_hangup() -> None:
    """Let SIGHUP, as of a terminal that closes, do what SIGTERM does, here and in forked processes."""
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # as nohup leaves it
        signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))


def _serve(
    settings: Settings,
    listener: socket.socket,
    logs: LogWriter,
    fleet: Fleet,
    ready: Callable[[str], None],
    parent: int | None = None,
) -> None:
    """Serve in this process.

    Args:
        settings: what to serve.
        listener: bound; listens from now on.
        logs: where this process logs.
        fleet: the workers of which this is one.
        ready: called with the bundle's name once requests are answered.
        parent: process without which this one ends.
    """
    bound_heaps()
    metrics = Metrics(fleet)
    logs.on_left_out = metrics.log_line_left_out
    service = load_service(settings, metrics, fleet)
    # What is loaded stays: the collector need not walk it again, which would stop a request for 50 ms.
    gc.collect()
    gc.freeze()
    gc.enable()  # the front door turned it off
    listen(listener)
    active = service.control.snapshot().active
    log.info(
        "serving",
        url=url_of(listener),
        worker=fleet.own.worker,
        bundle=active.bundle.version,
        fusion=service.control.fusion.active.version,
        generation=active.store.generation,
        provider=active.engine.provider,
        variant=active.engine.variant,
        cores=available_cores(),
        workers=settings.workers,
        threads=settings.threads,
    )
    config = uvicorn.Config(
        create_app(service=service),
        http=impatient_protocol(
            settings.read_timeout_s,
            most_connections(settings.max_connections, _OTHER_FILES + settings.feature_connections),
            metrics.cut,
        ),
        ws="none",
        timeout_keep_alive=settings.keep_alive_s,
        timeout_graceful_shutdown=DRAIN_S,
        backlog=BACKLOG,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        lifespan="on",
    )
    # uvicorn drains on SIGINT, then raises it again.
    with contextlib.suppress(KeyboardInterrupt):
        _Server(config, service, logs, ready, parent).run([listener])


class _Server(uvicorn.Server):
    """Says when it is ready and that it is alive, and takes its leave before it closes connections."""

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        logs: LogWriter,
        ready: Callable[[str], None],
        parent: int | None,
    ) -> None:
        super().__init__(config)
        self._service = service
        self._logs = logs
        self._ready = ready
        self._parent = parent

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready(self._service.control.snapshot().active.bundle.manifest.name)

    async def on_tick(self, counter: int) -> bool:
        if counter % _BEAT_TICKS == 0:
            self._service.fleet.beat()
            if self._parent is not None and os.getppid() != self._parent:
                log.error("supervisor_gone")
                self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._parent is None:
            for listener in sockets or []:
                refuse_newcomers(listener)  # of several workers, the supervisor does
        if self._service.preview is not None:
            self._service.preview.leave()
        await asyncio.sleep(_ACCEPT_S)
        for server in self.servers:
            server.close()
        # A connection that closes while its caller sends would lose the request: better that the caller hears
        # of it in an answer.
        self.server_state.default_headers.append((b"connection", b"close"))
        await asyncio.sleep(_FAREWELL_S)
        await super().shutdown(sockets)
        self._logs.flush()  # the signal that is raised again may end the process
