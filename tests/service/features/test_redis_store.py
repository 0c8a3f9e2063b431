"""The Redis store: what was published is found; whatever Redis does, a look-up ends in time and says why."""

from __future__ import annotations

import asyncio
import random
import time

import numpy as np
import pytest
import xxhash

from model.errors import FulcrumError
from service.features.embedded import EmbeddedStore
from tests.support.redis_server import RedisServer, redis_binaries

ITEMS = [f"v{row}" for row in range(500)]
SETTINGS = {"feature_timeout_ms": 10_000.0}
SHORT_MS = 150.0
"""Where a test waits until the time is over."""


@pytest.fixture
def open_store(stores, encoder):
    """`open_store(url)` is the store and what closes it."""

    def open_store(url, **given):
        opened = stores(url, **{**SETTINGS, **given})
        return opened.open(encoder), opened.close

    return open_store


def run(open_store, url, work, **given):
    """`await work(store)` with a store that is closed afterwards."""

    async def main():
        store, close = await asyncio.to_thread(open_store, url, **given)
        try:
            return await work(store)
        finally:
            await close()

    return asyncio.run(main())


async def whole(store, user, items):
    """The first look-up without a failure."""
    async with asyncio.timeout(60):
        while (found := await store.look_up(user, items)).failures:
            await asyncio.sleep(0.01)
    return found


def same(one, other):
    np.testing.assert_array_equal(one.rows.ids, other.rows.ids)
    np.testing.assert_array_equal(one.rows.numeric, other.rows.numeric)
    np.testing.assert_array_equal(one.video_len_s, other.video_len_s)
    np.testing.assert_array_equal(one.found, other.found)


@pytest.mark.slow
@pytest.mark.parametrize("binary", redis_binaries(), ids=lambda path: path.split("/")[-3])
def test_rows_are_those_of_the_embedded_store(binary, publish, open_store, world, encoder):
    server = RedisServer(binary)
    server.start()
    try:
        publish(server.url)
        asked = [*ITEMS[::-1], "nobody", "ü"]
        expected = asyncio.run(EmbeddedStore(world.features, encoder).look_up("u7", asked))

        async def ask(store):
            return [await store.look_up("u7", asked) for _ in range(2)]

        for found in run(open_store, server.url, ask):
            same(found.user, expected.user)
            same(found.items, expected.items)
            assert found.failures == []
    finally:
        server.stop()


def test_items_are_remembered_and_users_are_not(open_store, published):
    async def ask(store):
        first, again = [await store.look_up("u1", ["v1", "v2", "new"]) for _ in range(2)]
        published.client.flushall()
        gone = await store.look_up("u1", ["v1", "new", "v3"])
        return first, again, gone

    first, again, gone = run(open_store, published.url, ask)
    assert (first.cache_hits, first.cache_misses) == (0, 3)
    assert (again.cache_hits, again.cache_misses) == (3, 0)
    same(first.items, again.items)
    assert gone.user.found.tolist() == [False]
    assert gone.items.found.tolist() == [True, False, False]


def test_a_publishing_ends_what_is_remembered(open_store, published, publish):
    async def ask(store):
        before = store.generation
        await store.look_up("u1", ["v1", "v799"])
        published.client.delete(*published.client.keys("*:i:v1"))
        publish(published.url)
        await store.look_up("u1", [])
        found = await store.look_up("u1", ["v1", "v799"])
        return before, store.generation, found

    before, after, found = run(open_store, published.url, ask)
    assert before != after
    assert (found.cache_hits, found.cache_misses) == (0, 2)


def test_one_command_a_request(open_store, published):
    async def ask(store):
        await store.look_up("u1", ITEMS)
        published.client.config_resetstat()
        for user in range(10):
            await store.look_up(f"u{user}", ITEMS)

    for cached in (0, 1000):
        run(open_store, published.url, ask, feature_cache_items=cached)
        calls = {name: stat["calls"] for name, stat in published.client.info("commandstats").items()}
        assert calls.pop("cmdstat_mget") == 10
        assert set(calls) <= {"cmdstat_info", "cmdstat_config", "cmdstat_config|resetstat"}


def test_a_redis_without_this_encoders_rows_names_the_command_that_publishes_them(
    redis_server, open_store, encoder
):
    with pytest.raises(
        FulcrumError, match=rf"no rows of encoder {encoder.fingerprint}; run `fulcrum publish"
    ):
        open_store(redis_server.url)


def test_a_redis_that_does_not_answer_at_the_start_is_refused_without_its_password(open_store):
    with pytest.raises(FulcrumError, match=r"feature store redis://127.0.0.1:1/0: no answer") as refused:
        open_store("redis://someone:secret@127.0.0.1:1/0")
    assert "secret" not in str(refused.value)


def test_a_store_that_awaits_redis_has_nothing_until_it_comes(stores, encoder, proxy):
    proxy.fault = "refuse"
    opened = stores(proxy.url, **SETTINGS)

    async def main():
        store = await asyncio.to_thread(opened.open, encoder, True)
        assert (store.generation, store.seek()) == (None, None)
        found = await store.look_up("u1", ["v1"])
        assert found.failures == ["feature_store_unreachable"]
        proxy.fault = "none"
        found = await whole(store, "u1", ["v1"])
        assert found.user.found.all()
        assert found.items.found.all()
        assert store.generation is not None
        await opened.close()

    asyncio.run(main())


def test_a_store_that_awaits_redis_finds_out_without_requests(stores, encoder, proxy, published, monkeypatch):
    monkeypatch.setattr("service.features.redis_store._SEEK_S", 0.0)
    proxy.fault = "refuse"
    store = stores(proxy.url).open(encoder, True)
    assert store.seek() is None
    proxy.fault = "none"
    assert (store.seek(), store.generation is None) == (True, False)

    proxy.fault = "refuse"
    store = stores(proxy.url).open(encoder, True)
    published.client.flushall()
    proxy.fault = "none"
    assert (store.seek(), store.generation) == (False, None)


def test_a_redis_that_refuses_is_not_awaited(stores, encoder, redis_server):
    redis_server.client.config_set("requirepass", "secret")
    try:
        with pytest.raises(FulcrumError, match=r"Redis refuses .*correct the setting features"):
            stores(redis_server.url).open(encoder, True)
    finally:
        redis_server.client.config_set("requirepass", "")


@pytest.mark.parametrize(
    ("fault", "reasons", "timeout_ms"),
    [
        ("refuse", {"feature_store_unreachable"}, 10_000.0),
        ("reset", {"feature_store_unreachable"}, 10_000.0),
        ("hang", {"feature_store_timeout"}, SHORT_MS),
        ("slow", {"feature_store_timeout"}, SHORT_MS),
        ("cut", {"feature_store_unreachable"}, 10_000.0),
        ("garble", {"feature_store_unreachable", "feature_store_timeout", "feature_store_corrupt"}, SHORT_MS),
    ],
)
def test_whatever_happens_on_the_way_a_look_up_ends_in_time_and_heals(
    open_store, proxy, world, encoder, fault, reasons, timeout_ms
):
    embedded = EmbeddedStore(world.features, encoder)

    async def ask(store):
        expected = await embedded.look_up("u3", ITEMS)
        same((await whole(store, "u3", ITEMS)).items, expected.items)
        proxy.fault, proxy.slow_s = fault, 5.0
        for _ in range(20):
            async with asyncio.timeout(60):  # an answer that hangs would never come
                found = await store.look_up("u3", ITEMS)
            assert set(found.failures) <= reasons
            assert found.failures
            if found.failures != ["feature_store_corrupt"]:
                assert not found.user.found.any()
                assert not found.items.found.any()
                same(found.items, (await embedded.look_up("?", ["?"] * len(ITEMS))).items)
            # Nothing that is not the row asked for.
            np.testing.assert_array_equal(
                found.items.rows.ids[found.items.found], expected.items.rows.ids[found.items.found]
            )
            await asyncio.sleep(0.01)
        proxy.fault = "none"
        same((await whole(store, "u3", ITEMS)).items, expected.items)

    run(open_store, proxy.url, ask, feature_cache_items=0, feature_timeout_ms=timeout_ms)


def test_a_dead_redis_does_not_cost_every_request_its_wait(open_store, proxy):
    async def ask(store):
        await whole(store, "u1", ITEMS)
        proxy.fault = "hang"
        began = time.perf_counter()
        for _ in range(200):
            await store.look_up("u1", ITEMS)
        return time.perf_counter() - began

    assert run(open_store, proxy.url, ask, feature_timeout_ms=SHORT_MS) < 200 * SHORT_MS / 1000 / 2


def test_a_callers_own_hurry_does_not_condemn_redis(open_store, published):
    async def ask(store):
        for _ in range(20):
            hurried = await store.look_up("u1", ITEMS, budget_s=1e-6)
            assert hurried.failures == ["feature_store_timeout"]
        return await store.look_up("u1", ITEMS)

    assert run(open_store, published.url, ask).failures == []


def test_without_any_time_nothing_is_asked_and_nothing_failed(open_store, published):
    async def ask(store):
        published.client.config_resetstat()
        return await store.look_up("u1", ITEMS, budget_s=0.0)

    found = run(open_store, published.url, ask)
    assert (found.failures, found.items.found.any()) == ([], False)
    assert "cmdstat_mget" not in published.client.info("commandstats")


def row_of_unknown_ids(client, key):
    row = b"\x7f" * 8 + client.get(key)[17:]  # with a right checksum
    client.set(key, b"\x01" + xxhash.xxh3_64_digest(key + row) + row)


@pytest.mark.parametrize(
    "harm",
    [
        row_of_unknown_ids,
        lambda client, key: client.set(key, client.get(key)[:-1]),
        lambda client, key: client.set(key, b""),
        lambda client, key: client.set(key, client.get(key)[:-1] + b"\x07"),
        lambda client, key: client.set(key, client.get(key[:-1] + b"2")),
        lambda client, key: (client.delete(key), client.rpush(key, "a list")),
        lambda client, key: (client.delete(key), client.hset(key, "a", "hash")),
    ],
    ids=["unknown-ids", "truncated", "empty", "another-byte", "another-row", "a-list", "a-hash"],
)
@pytest.mark.parametrize("side", ["u", "i"])
def test_a_value_that_is_no_row_is_as_if_absent_and_named_until_it_is_mended(
    open_store, published, publish, encoder, side, harm
):
    client = published.client
    key = f"fulcrum:{encoder.fingerprint}:{side}:{'u1' if side == 'u' else 'v1'}".encode()

    async def ask(store):
        harm(client, key)
        for _ in range(2):
            found = await store.look_up("u1", ["v1", "v2"])
            assert found.failures == ["feature_store_corrupt"]
            assert found.user.found.tolist() == [side == "i"]
            assert found.items.found.tolist() == [side == "u", True]
        publish(published.url)
        mended = await store.look_up("u1", ["v1", "v2"])
        assert mended.failures == []
        assert mended.items.found.all()

    run(open_store, published.url, ask)


def test_a_flushed_redis_is_named_and_heals_when_rows_are_published_again(open_store, published, publish):
    async def ask(store):
        published.client.flushall()
        for _ in range(2):
            found = await store.look_up("u1", ["v1"])
            assert found.failures == ["feature_store_missing"]
            assert not found.items.found.any()
        publish(published.url)
        assert (await store.look_up("u1", ["v1"])).failures == []
        assert (await store.look_up("u1", ["v1"])).items.found.all()

    run(open_store, published.url, ask)


def test_rows_of_another_encoder_are_none_of_ours(open_store, published, encoder):
    client = published.client

    async def ask(store):
        for key in client.keys("*"):
            client.rename(key, key.replace(encoder.fingerprint[:8].encode(), b"00000000"))
        return await store.look_up("u1", ["v1"])

    found = run(open_store, published.url, ask)
    assert found.failures == ["feature_store_missing"]
    assert not found.user.found.any()


@pytest.mark.slow
def test_a_restarted_redis_is_met_again(publish, open_store, encoder):
    server = RedisServer(redis_binaries()[0])
    server.start()
    publish(server.url)

    async def ask(store):
        await store.look_up("u1", ["v1"])
        server.stop()
        assert (await store.look_up("u1", ["v2"])).failures == ["feature_store_unreachable"]
        server.start()
        publish(server.url)
        await whole(store, "u1", ["v1"])

    try:
        run(open_store, server.url, ask)
    finally:
        server.stop()


@pytest.mark.slow
def test_a_frozen_redis_is_met_again(publish, open_store):
    server = RedisServer(redis_binaries()[0])
    server.start()
    publish(server.url)

    async def ask(store):
        await store.look_up("u1", ["v1"])
        server.freeze()
        for _ in range(20):
            assert (await store.look_up("u1", ["v2"])).failures == ["feature_store_timeout"]
        server.thaw()
        await whole(store, "u1", ["v1"])

    try:
        run(open_store, server.url, ask, feature_timeout_ms=SHORT_MS)
    finally:
        server.stop()


@pytest.mark.parametrize("fault", ["none", "slow"])
def test_no_answer_ever_holds_anothers_rows_in_a_storm_of_cancelled_requests(
    open_store, proxy, world, encoder, fault
):
    """By content: each row is that of its id, which the embedded store knows."""
    embedded = EmbeddedStore(world.features, encoder)
    randomly = random.Random(3)
    proxy.slow_s = 0.02
    answered = 0

    async def one(store, number):
        nonlocal answered
        user, items = f"u{number % 40}", randomly.sample([f"v{row}" for row in range(800)], 20)
        found = await store.look_up(user, items)
        expected = await embedded.look_up(user, items)
        for side, other in ((found.user, expected.user), (found.items, expected.items)):
            np.testing.assert_array_equal(side.rows.ids[side.found], other.rows.ids[side.found])
            np.testing.assert_array_equal(side.rows.numeric[side.found], other.rows.numeric[side.found])
        assert found.failures in ([], ["feature_store_timeout"])
        answered += not found.failures

    async def storm(store):
        await store.look_up("u1", ["v1"])
        proxy.fault = fault
        for number in range(0, 1500, 25):
            tasks = [asyncio.create_task(one(store, number + place)) for place in range(25)]
            for task in tasks:
                if randomly.random() < 0.7:
                    asyncio.get_running_loop().call_later(randomly.uniform(0, 0.01), task.cancel)
            for outcome in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(outcome, BaseException) and not isinstance(outcome, asyncio.CancelledError):
                    raise outcome
        proxy.fault = "none"
        await whole(store, "u1", ["v1"])

    run(open_store, proxy.url, storm, feature_cache_items=0, feature_connections=8)
    assert answered > 100
