"""The service as a process, for tests and benchmarks: started as `fulcrum serve` does, heard, stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx

__all__ = ["ServiceProcess", "private_bytes", "serving", "wait_until"]

_REPOSITORY = Path(__file__).parents[2]
_PROGRAM = """
import json, sys
from service.server import run
from service.settings import load_settings
run(load_settings(**json.loads(sys.argv[1])))
"""
_T = TypeVar("_T")


class ServiceProcess:
    """A running service.

    Attributes:
        url: where it listens.
        process: its first process, the supervisor of several workers.
    """

    def __init__(self, process: subprocess.Popen[str], url: str, log: Path) -> None:
        self.process = process
        self.url = url
        self._log = log

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """What it logged."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if name in (None, line["event"])]

    def workers(self) -> list[int]:
        """The process ids of its children, by place."""
        pids = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [int(pid) for pid in pids]

    def stop(self) -> int:
        """Ask it to end; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


@contextmanager
def serving(log: Path, env: dict[str, str] | None = None, **settings: Any) -> Iterator[ServiceProcess]:
    """A service with these settings on a free port, from when it answers; stopped at the end.

    Args:
        log: file for its standard error.
        env: environment variables beside those of this process.
        **settings: as in `Settings`.
    """
    given = {"port": 0, "threads": 1, **settings}
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, json.dumps(given, default=str)],
            cwd=_REPOSITORY,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )
    assert process.stdout is not None
    try:
        greeting = process.stdout.readline()
        assert greeting.startswith("Fulcrum serves "), f"exit code {process.wait(60)}: {log.read_text()}"
        service = ServiceProcess(process, greeting.split()[-1], log)
        yield service
        service.stop()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()


def wait_until(what: Callable[[], _T], within_s: float = 60.0) -> _T:
    """What `what` gives once it is true; fails after the time, which a busy machine has need of."""
    deadline = time.monotonic() + within_s
    while True:
        try:
            found = what()
        except httpx.TransportError:
            found = None
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(0.05)


def private_bytes(pid: int) -> int:
    """Memory that this process alone holds."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Private_"))
