"""The control store in Redis: one that keeps too little, or allows too little, is refused."""

from __future__ import annotations

import traceback

import pytest
import structlog

from model.errors import FulcrumError
from model.redis_url import RedisUrl
from service.control.state.desired import StateError
from service.control.state.opening import open_control
from service.control.state.redis_control import DOCUMENT, KEYS, RedisControl
from tests.service.control.state.conftest import RIGHTS
from tests.support.control_changes import assert_whole, proposal, propose

pytestmark = pytest.mark.slow


def opened(server) -> RedisControl:
    return open_control(RedisUrl(server.url))


def test_only_the_four_keys_are_written_and_asking_writes_none(redis_store, durable_redis):
    assert durable_redis.client.keys("*") == []
    propose(redis_store)
    assert redis_store.commit(proposal(redis_store.read(), networks={"ab": b"network"}))
    assert sorted(key.decode() for key in durable_redis.client.keys("*")) == sorted(KEYS)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, None),
        ({"appendonly": "no"}, r"no replica and no append-only file, and .*; set appendonly yes and"),
        ({"appendfsync": "everysec"}, r"syncs its append-only file everysec; set appendonly yes and"),
        ({"no-appendfsync-on-rewrite": "yes"}, r"set no-appendfsync-on-rewrite no"),
    ],
)
def test_a_redis_that_may_lose_what_it_acknowledges_is_refused(durable_redis, redis_store, settings, says):
    try:
        for name, value in settings.items():
            durable_redis.client.config_set(name, value)
        if says is None:
            opened(durable_redis)
            return
        with pytest.raises(FulcrumError, match=says):
            opened(durable_redis)
        with pytest.raises(StateError, match=f"{says}.*; nothing was changed"):
            redis_store.commit(proposal(None))
        assert redis_store.read() is None
    finally:
        durable_redis.client.config_set("appendonly", "yes")
        durable_redis.client.config_set("appendfsync", "always")
        durable_redis.client.config_set("no-appendfsync-on-rewrite", "no")


def test_a_user_without_a_right_that_is_needed_is_refused_and_the_right_named(durable_user):
    for right in RIGHTS[1:]:
        with pytest.raises(FulcrumError, match=rf"run {right[1:].upper()}; allow \+info \+get"):
            open_control(durable_user(*(one for one in RIGHTS if one != right)))


def test_a_user_who_may_not_ask_for_the_settings_is_taken_with_a_warning(durable_user):
    with structlog.testing.capture_logs() as logs:
        store = open_control(durable_user(*RIGHTS))
    assert [line["event"] for line in logs] == ["control_durability_unknown"]
    propose(store)
    assert len(assert_whole(store)) == 1


def test_a_right_that_is_taken_away_later_is_told(durable_user):
    store = open_control(durable_user(*RIGHTS))
    first = propose(store)
    durable_user(*RIGHTS, "-hset")
    with pytest.raises(StateError, match=r"its user lacks a permission.*; nothing was changed"):
        store.commit(proposal(store.read()))
    assert assert_whole(store) == [first]


def test_a_cluster_is_refused(redis_cluster):
    with pytest.raises(FulcrumError, match="it is a Redis Cluster, which is not supported"):
        opened(redis_cluster)


def test_what_redis_repeats_of_the_password_is_not_passed_on(tactless_redis):
    store = RedisControl(RedisUrl(tactless_redis.url))
    for attempt in (store.check, store.read, lambda: store.commit(proposal(None))):
        with pytest.raises(FulcrumError, match="lacks a command") as refused:
            attempt()
        assert "secret" not in "".join(traceback.format_exception(refused.value))


def test_a_redis_that_may_evict_the_store_is_named(durable_redis):
    durable_redis.client.config_set("maxmemory", 1 << 40)
    durable_redis.client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with structlog.testing.capture_logs() as logs:
            opened(durable_redis)
    finally:
        durable_redis.client.config_set("maxmemory", 0)
        durable_redis.client.config_set("maxmemory-policy", "noeviction")
    assert [(line["event"], "allkeys-lru" in line["why"]) for line in logs] == [("control_may_be_lost", True)]


@pytest.mark.parametrize("content", [b"{", b'{"schema_version": 2}'])
def test_a_document_that_is_none_is_told_and_not_replaced(redis_store, durable_redis, content):
    durable_redis.client.set(DOCUMENT, content)
    with pytest.raises(StateError, match="the document"):
        redis_store.read()
    if content == b"{":
        with pytest.raises(StateError, match="nothing was changed"):
            redis_store.commit(proposal(None))
    assert durable_redis.client.get(DOCUMENT) == content


def test_a_full_memory_changes_nothing(redis_store, durable_redis):
    first = propose(redis_store)
    durable_redis.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StateError, match=r"its memory is full.*; nothing was changed"):
            redis_store.commit(proposal(redis_store.read()))
    finally:
        durable_redis.client.config_set("maxmemory", 0)
    assert assert_whole(redis_store) == [first]
