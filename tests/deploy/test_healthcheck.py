"""deploy/healthcheck.py, run as the image runs it, against servers that are well, ill, mute and absent."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest


@contextmanager
def answering(status: int) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/readyz"
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def check(root: Path, port: int) -> int:
    environment = {**os.environ, "FULCRUM_PORT": str(port), "http_proxy": "http://127.0.0.1:1"}
    command = [sys.executable, "-I", str(root / "deploy" / "healthcheck.py")]
    return subprocess.run(command, env=environment, capture_output=True, timeout=120).returncode


@pytest.mark.slow
@pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (503, 1)])
def test_it_is_well_if_readyz_says_so(root: Path, status: int, exit_status: int) -> None:
    with answering(status) as port:
        assert check(root, port) == exit_status


@pytest.mark.slow
def test_it_is_not_well_if_nobody_listens(root: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert check(root, taken.getsockname()[1]) == 1


def test_it_asks_for_a_path_that_the_service_has_and_gives_up_before_docker_does(
    root: Path, routes: set[str]
) -> None:
    text = (root / "deploy" / "healthcheck.py").read_text()
    assert re.findall(r'"(/\w+)"', text) == ["/readyz"]
    assert "/readyz" in routes
    patience = float(re.search(r"_TIMEOUT_S = ([\d.]+)", text)[1])  # type: ignore[index]
    for name in ("Dockerfile", "Dockerfile.cuda"):
        timeout = re.search(r"--timeout=(\d+)s", (root / "deploy" / name).read_text())
        assert timeout is not None
        assert patience < int(timeout[1])
