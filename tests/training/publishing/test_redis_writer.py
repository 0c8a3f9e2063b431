"""Rows in Redis: only what changed is written, as often as one likes; a publishing may die at any point."""

from __future__ import annotations

import shutil
import traceback

import polars as pl
import pytest

from model.bundle import load_bundle
from model.errors import FulcrumError
from model.redis_url import RedisUrl
from model.store.packed import open_tables
from model.store.redis_rows import RedisTable, generation_key
from tests.support.redis_server import (
    redis_cluster,
    redis_process,
    redis_server,
    redis_user,
    tactless_redis,
    tls_redis,
)
from training.progress import Warned
from training.publishing.publish import publish
from training.publishing.redis_writer import RedisWriter

__all__ = ["redis_cluster", "redis_process", "redis_server", "redis_user", "tactless_redis", "tls_redis"]


@pytest.fixture(scope="module")
def bundle(trained):
    return load_bundle(trained.bundle)


@pytest.fixture
def state(redis_server, bundle):
    """`state()`: everything that Redis holds."""

    def state() -> dict[bytes, bytes]:
        client = redis_server.client
        keys = client.keys("*")
        return dict(zip(keys, client.mget(keys), strict=True)) if keys else {}

    return state


def commands(redis_server) -> dict[str, int]:
    """What Redis did; what it refused, it did not."""
    stats = redis_server.client.info("commandstats")
    done = {name.removeprefix("cmdstat_"): s["calls"] - s["failed_calls"] for name, s in stats.items()}
    return {name: calls for name, calls in done.items() if calls}


def test_rows_are_those_of_a_folder(redis_server, bundle, trained, tmp_path):
    published = publish(bundle, trained.data, redis_server.url)
    publish(bundle, trained.data, str(tmp_path))
    assert (published.users, published.items, published.changed) == (41, 60, 101)
    for name, ids in (("users", range(41)), ("items", range(60))):
        table, packed = RedisTable(bundle.encoder, name), open_tables(tmp_path, bundle.encoder)[1][name]
        keys = [table.key(str(entity)) for entity in ids]
        records, places = table.read(keys, redis_server.client.mget(keys))
        expected = packed.records[packed.find([str(entity) for entity in ids])]
        assert places.min() >= 0
        assert records[places].tobytes() == expected.tobytes()
    assert redis_server.client.get(generation_key(bundle.encoder)).decode() == published.generation


def test_publishing_the_same_again_writes_nothing(redis_server, bundle, trained, state):
    publish(bundle, trained.data, redis_server.url)
    before = state()
    redis_server.client.config_resetstat()
    published = publish(bundle, trained.data, redis_server.url)
    assert published.changed == 0
    assert state() == before
    assert not {"set", "mset", "expire", "persist"} & set(commands(redis_server))


def test_only_what_changed_is_written_and_what_the_data_lacks_stays(
    redis_server, bundle, trained, state, tmp_path
):
    first = publish(bundle, trained.data, redis_server.url)
    before = state()
    data = shutil.copytree(trained.data, tmp_path / "data")
    items = pl.read_csv(data / "items.csv")
    items.filter(pl.col("video_id") != 3).with_columns(
        length_ms=pl.when(pl.col("video_id") == 5).then(pl.lit(61_000)).otherwise("length_ms")
    ).write_csv(data / "items.csv")
    log = pl.read_csv(data / "log.csv")
    log.filter(pl.col("video_id") != 3).write_csv(data / "log.csv")
    views = pl.read_csv(data / "views.csv")
    views.filter(pl.col("video_id") != 3).write_csv(data / "views.csv")
    second = publish(bundle, data, redis_server.url)
    after = state()
    changed = {key for key in after if after[key] != before.get(key)}
    assert second.changed == 1
    assert changed == {RedisTable(bundle.encoder, "items").key("5"), generation_key(bundle.encoder)}
    assert first.generation != second.generation
    assert RedisTable(bundle.encoder, "items").key("3") in after


def test_damaged_and_foreign_values_are_mended(redis_server, bundle, trained, state):
    publish(bundle, trained.data, redis_server.url)
    before = state()
    users = RedisTable(bundle.encoder, "users")
    redis_server.client.set(users.key("1"), b"short")
    redis_server.client.delete(users.key("2"), users.key("3"))
    redis_server.client.rpush(users.key("2"), "a list")
    assert publish(bundle, trained.data, redis_server.url).changed == 3
    after = state()
    generation = generation_key(bundle.encoder)
    assert before.pop(generation) != after.pop(generation)
    assert after == before


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_first_publishing_that_dies_leaves_no_generation_and_another_completes_it(
    redis_server, bundle, trained, state, monkeypatch, batches
):
    monkeypatch.setattr("training.publishing.redis_writer._BATCH", 20)
    whole, alive = RedisWriter.write, iter(range(batches))

    def dying(self, *arguments):
        for batch in whole(self, *arguments):
            yield batch
            if next(alive, None) is None:
                raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(RedisWriter, "write", dying)
        with pytest.raises(KeyboardInterrupt):
            publish(bundle, trained.data, redis_server.url)
    assert generation_key(bundle.encoder) not in state()
    assert 0 < len(state()) < 101
    published = publish(bundle, trained.data, redis_server.url)
    assert 0 < published.changed < 101
    assert len(state()) == 102


def test_a_redis_that_takes_nothing_is_said_in_one_line(redis_server, bundle, trained):
    redis_server.client.config_set("maxmemory", "1")
    try:
        with pytest.raises(FulcrumError, match=r"redis://127.*Redis refused.*(OOM|memory)") as refused:
            publish(bundle, trained.data, redis_server.url)
        assert "\n" not in str(refused.value)
    finally:
        redis_server.client.config_set("maxmemory", "0")


def test_rows_that_redis_evicts_while_others_are_written_are_not_passed_over(
    redis_server, bundle, trained, state, monkeypatch
):
    client, whole, warned = redis_server.client, RedisWriter.finish, []

    def short_of_memory(self, changed):
        client.config_set("maxmemory", 1)
        return whole(self, changed)

    client.config_set("maxmemory-policy", "allkeys-random")
    client.config_set("maxmemory", 1 << 40)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(RedisWriter, "finish", short_of_memory)
            with pytest.raises(FulcrumError, match=r"of 101 rows are gone again: Redis evicts .*allkeys-ran"):
                publish(bundle, trained.data, redis_server.url, warned.append)
    finally:
        client.config_set("maxmemory", 0)
        client.config_set("maxmemory-policy", "noeviction")
    assert generation_key(bundle.encoder) not in state()
    assert [event for event in warned if isinstance(event, Warned) and "set noeviction" in event.text]
    publish(bundle, trained.data, redis_server.url)
    assert len(state()) == 102


def test_rows_that_vanish_while_others_are_written_are_not_passed_over(
    redis_server, bundle, trained, monkeypatch
):
    users, whole = RedisTable(bundle.encoder, "users"), RedisWriter.finish
    publish(bundle, trained.data, redis_server.url)
    redis_server.client.delete(users.key("1"))

    def emptied(self, changed):
        redis_server.client.delete(users.key("2"), users.key("3"))
        return whole(self, changed)

    monkeypatch.setattr(RedisWriter, "finish", emptied)
    before = redis_server.client.get(generation_key(bundle.encoder))
    with pytest.raises(FulcrumError, match="2 of 101 rows are gone again"):
        publish(bundle, trained.data, redis_server.url)
    assert redis_server.client.get(generation_key(bundle.encoder)) == before


@pytest.mark.parametrize("missing", ["mget", "exists", "mset"])
def test_a_user_who_may_not_publish_is_refused_before_anything_is_written(bundle, state, redis_user, missing):
    url = redis_user(*(f"+{name}" for name in ("mget", "exists", "mset") if name != missing))
    with pytest.raises(FulcrumError, match=rf"run {missing.upper()}; allow \+mget \+exists \+mset"):
        RedisWriter(url, bundle.encoder)
    assert RedisWriter(redis_user("+mget", "+exists", "+mset"), bundle.encoder).doubt is None
    assert state() == {}


def test_publishing_over_tls_works_every_time(tls_redis, bundle):
    for _ in range(20):
        RedisWriter(RedisUrl(tls_redis.url), bundle.encoder)


def test_publishing_into_a_cluster_is_refused(redis_cluster, bundle):
    with pytest.raises(FulcrumError, match="it is a Redis Cluster, which is not supported"):
        RedisWriter(RedisUrl(redis_cluster.url), bundle.encoder)


def test_what_redis_repeats_of_the_password_is_not_passed_on(tactless_redis, bundle):
    with pytest.raises(FulcrumError, match="lacks a command") as refused:
        RedisWriter(RedisUrl(tactless_redis.url), bundle.encoder)
    assert "secret" not in "".join(traceback.format_exception(refused.value))
