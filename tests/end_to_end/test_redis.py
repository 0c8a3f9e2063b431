"""A bundle ranks from Redis as `evaluate` judges it, and publishing writes what changed."""

from __future__ import annotations

import pytest

from tests.support.harness import Command, World, serving
from tests.support.parity import largest_difference
from tests.support.redis_server import RedisServer, redis_process, redis_server

__all__ = ["redis_process", "redis_server"]


@pytest.fixture
def url(world: World, fulcrum: Command, redis_server: RedisServer) -> str:
    fulcrum("publish", world.bundle, "--to", redis_server.url)
    return redis_server.url


def test_a_thousand_impressions_from_redis_equal_evaluate(url: str, world: World) -> None:
    rows = world.rows.head(1_000)
    words = ("--bundle", world.bundle, "--features", url, "--fusion", world.fusion)
    with serving(*words, log=world.log.with_name("redis-log")) as client:
        compared, worst = largest_difference(client, rows, "user_id", "video_id", ["tab", "hour"])
    assert compared > 900
    assert worst <= 1e-5


def test_publishing_again_writes_nothing(
    url: str, world: World, fulcrum: Command, redis_server: RedisServer
) -> None:
    def written() -> int:
        """Calls that wrote; what is only tried at the start fails, and must."""
        of_mset = redis_server.client.info("commandstats")["cmdstat_mset"]
        return int(of_mset["calls"] - of_mset["failed_calls"])

    before = written()
    generation = redis_server.client.get(redis_server.client.keys("*:generation")[0])
    fulcrum("publish", world.bundle, "--to", url)
    assert written() == before
    assert redis_server.client.get(redis_server.client.keys("*:generation")[0]) == generation
