"""Commands and services in processes of their own, and what the end-to-end tests share."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import polars as pl
from click.testing import Result

FULCRUM = Path(sys.executable).with_name("fulcrum")
KUAIRAND = Path(__file__).parents[3] / "shared" / "data" / "kuairand-pure"

Command = Callable[..., Result]


@contextmanager
def serving(*words: str | Path, log: Path, python: Path | None = None) -> Iterator[httpx.Client]:
    """A service in a process of its own, ended at the end; `python` names another environment's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [(python or Path(sys.executable)).with_name("fulcrum"), "serve", *map(str, words)]
    with log.open("w") as output:
        environment = {**os.environ, "FULCRUM_THREADS": "1"}
        service = subprocess.Popen(
            [*command, "--port", str(port)], stdout=output, stderr=output, env=environment
        )
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
                _wait_until_ready(client, service, log)
                yield client
        finally:
            service.terminate()
            service.wait(timeout=60)


def _wait_until_ready(client: httpx.Client, service: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert service.poll() is None, f"the service ended: {log.read_text()}"
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError(f"the service did not become ready: {log.read_text()}")


@dataclass(frozen=True)
class World:
    """A bundle trained on the synthetic world, its store and its judged validation rows.

    Attributes:
        moving: user features made of the log: the store holds what its end knows, each impression knew less.
    """

    bundle: Path
    store: Path
    rows: pl.DataFrame
    fusion: Path
    log: Path
    moving: tuple[str, ...] = ("user_long_view", "last_watched")
