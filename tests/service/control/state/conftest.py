"""A Redis that keeps what it acknowledges, and none of what other tests wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from model.redis_url import RedisUrl
from service.control.state.redis_control import RedisControl
from tests.support.faulty_proxy import FaultyProxy
from tests.support.redis_server import RedisServer

RIGHTS = ("+info", "+get", "+hget", "+hmget", "+set", "+hset", "+eval", "+wait")
"""All that a control store needs."""
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.fixture(scope="session")
def durable_process(
    redis_process: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RedisServer]:
    server = RedisServer(redis_process.binary, *DURABLE, "--dir", str(tmp_path_factory.mktemp("redis")))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def durable_redis(durable_process: RedisServer) -> RedisServer:
    """A Redis that syncs each change to its disk, and holds nothing."""
    durable_process.thaw()  # where a test that failed has left it
    durable_process.client.flushall()
    return durable_process


@pytest.fixture
def start_redis(redis_process: RedisServer, tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """`start_redis(option, ...)`: a Redis of its own folder, which is stopped at the end."""
    servers: list[RedisServer] = []

    def start(*more: str) -> RedisServer:
        folder = tmp_path / f"redis-{len(servers)}"
        folder.mkdir()
        servers.append(RedisServer(redis_process.binary, *more, "--dir", str(folder)))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def redis_store(durable_redis: RedisServer) -> Iterator[RedisControl]:
    """A control store in it."""
    store = RedisControl(RedisUrl(durable_redis.url))
    store.check()
    yield store
    store.close()


@pytest.fixture
def proxy(durable_redis: RedisServer) -> Iterator[FaultyProxy]:
    """What stands before it."""
    proxy = FaultyProxy(durable_redis.port)
    yield proxy
    proxy.close()


@pytest.fixture
def durable_user(durable_redis: RedisServer) -> Callable[..., RedisUrl]:
    """`durable_user("+get", ...)`: the URL of a user with these rights to Fulcrum's keys, and no others."""

    def user(*rights: str) -> RedisUrl:
        words = ("reset", "on", ">secret", "~fulcrum:*", *rights)
        durable_redis.client.execute_command("ACL", "SETUSER", "half", *words)
        return RedisUrl(durable_redis.url.replace("//", "//half:secret@"))

    return user
