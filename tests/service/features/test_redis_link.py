"""The way to Redis: what it must allow is asked at the start, TLS works, no text of its own is passed on."""

from __future__ import annotations

import asyncio
import traceback

import pytest
import structlog

from model.errors import FulcrumError
from model.redis_url import RedisUrl
from service.features.redis_link import LinkError, RedisLink


@pytest.mark.parametrize("missing", ["mget", "exists"])
def test_a_user_who_may_not_do_what_requests_need_is_refused_at_the_start(
    stores, encoder, published, redis_user, missing
):
    url = redis_user(*(f"+{name}" for name in ("mget", "exists") if name != missing))
    with pytest.raises(FulcrumError, match=rf"run {missing.upper()}; allow \+mget \+exists on"):
        stores(url.secret).open(encoder, True)
    stores(redis_user("+mget", "+exists").secret).open(encoder)


def test_a_store_over_tls_is_opened_every_time_and_answers(stores, encoder, published, publish, tls_redis):
    publish(tls_redis.url)
    opened = stores(tls_redis.url, feature_timeout_ms=10_000.0)
    for _ in range(20):
        store = opened.open(encoder)

    async def ask():
        try:
            return await store.look_up("u1", ["v1"])
        finally:
            await opened.close()

    found = asyncio.run(ask())
    assert (found.failures, found.items.found.all()) == ([], True)


def test_a_cluster_is_refused_at_the_start(stores, encoder, redis_cluster):
    with pytest.raises(FulcrumError, match="it is a Redis Cluster, which is not supported"):
        stores(redis_cluster.url).open(encoder, True)


def test_what_redis_repeats_of_the_password_is_not_passed_on(stores, encoder, tactless_redis):
    with pytest.raises(FulcrumError, match="lacks a command") as refused:
        stores(tactless_redis.url).open(encoder)
    assert "secret" not in "".join(traceback.format_exception(refused.value))

    async def ask():
        link = RedisLink(RedisUrl(tactless_redis.url), 10.0, 1)
        for _ in range(5):
            with pytest.raises(LinkError):
                await link.fetch([b"fulcrum:1"])
        await link.close()

    with structlog.testing.capture_logs() as logs:
        asyncio.run(ask())
    assert [line["event"] for line in logs] == ["feature_store_away"]
    assert "lacks a command" in logs[0]["error"]
    assert "secret" not in str(logs)


def test_a_redis_that_may_evict_rows_is_named_once(stores, encoder, published):
    published.client.config_set("maxmemory", 1 << 40)
    published.client.config_set("maxmemory-policy", "allkeys-lfu")
    opened = stores(published.url)
    try:
        with structlog.testing.capture_logs() as logs:
            for _ in range(2):
                opened.open(encoder)
    finally:
        published.client.config_set("maxmemory", 0)
        published.client.config_set("maxmemory-policy", "noeviction")
    (line,) = logs
    assert (line["event"], "allkeys-lfu" in line["why"]) == ("feature_store_may_lose_rows", True)
