"""The service in a thread of this process, over real HTTP: quick to start, for tests that need many."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import uvicorn

from service.http.app import create_app
from service.http.connection import impatient_protocol
from service.settings import Settings

__all__ = ["listening"]


@contextmanager
def listening(settings: Settings) -> Iterator[str]:
    """A service with these settings on a free port of this process; its URL, from when it answers."""
    app = create_app(settings)
    protocol = impatient_protocol(settings.read_timeout_s, settings.max_connections, app.state.metrics.cut)
    config = uvicorn.Config(
        app,
        port=0,
        log_config=None,
        access_log=False,
        lifespan="on",
        http=protocol,
        ws="none",
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    with ExitStack() as stack:
        thread.start()
        stack.callback(thread.join)
        stack.callback(setattr, server, "should_exit", True)
        deadline = time.monotonic() + 60
        while not server.started:
            assert thread.is_alive(), "the service did not start"
            assert time.monotonic() < deadline, "the service did not start in time"
            time.sleep(0.005)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
