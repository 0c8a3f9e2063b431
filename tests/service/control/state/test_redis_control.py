"""The control store in Redis: hung, restarted, failed over, answers lost, and one that keeps too little."""

from __future__ import annotations

import random
import re
import threading
import time
import traceback

import pytest
import structlog

from model.errors import FulcrumError
from model.redis_url import RedisUrl
from service.control.state.control import Change
from service.control.state.desired import StateError
from service.control.state.opening import open_control
from service.control.state.redis_control import DOCUMENT, KEYS, RedisControl
from tests.service.control.state.conftest import DURABLE
from tests.support.control_changes import assert_whole, change_of, proposal, propose
from tests.support.faulty_proxy import FaultyProxy
from tests.support.redis_server import RedisServer
from tests.support.service_process import wait_until

pytestmark = pytest.mark.slow


def opened(server) -> RedisControl:
    return open_control(RedisUrl(server.url))


@pytest.fixture
def store(durable_redis):
    store = opened(durable_redis)
    yield store
    store.close()


@pytest.fixture
def proxy(durable_redis):
    proxy = FaultyProxy(durable_redis.port)
    yield proxy
    proxy.close()


def test_only_the_four_keys_are_written_and_asking_writes_none(store, durable_redis):
    assert durable_redis.client.keys("*") == []
    propose(store)
    assert store.commit(proposal(store.read(), networks={"ab": b"network"}))
    assert sorted(key.decode() for key in durable_redis.client.keys("*")) == sorted(KEYS)


# What keeps too little.


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, None),
        ({"appendonly": "no"}, r"no replica and no append-only file, and .*; set appendonly yes and"),
        ({"appendfsync": "everysec"}, r"syncs its append-only file everysec; set appendonly yes and"),
        ({"no-appendfsync-on-rewrite": "yes"}, r"set no-appendfsync-on-rewrite no"),
    ],
)
def test_a_redis_that_may_lose_what_it_acknowledges_is_refused(durable_redis, store, settings, says):
    try:
        for name, value in settings.items():
            durable_redis.client.config_set(name, value)
        if says is None:
            opened(durable_redis)
            return
        with pytest.raises(FulcrumError, match=says):
            opened(durable_redis)
        with pytest.raises(StateError, match=f"{says}.*; nothing was changed"):
            store.commit(proposal(None))
        assert store.read() is None
    finally:
        durable_redis.client.config_set("appendonly", "yes")
        durable_redis.client.config_set("appendfsync", "always")
        durable_redis.client.config_set("no-appendfsync-on-rewrite", "no")


RIGHTS = ("+info", "+get", "+hget", "+hmget", "+set", "+hset", "+eval", "+wait")


@pytest.fixture
def user(durable_redis):
    """`user("+get", ...)`: the URL of a user with these rights to Fulcrum's keys, and no others."""

    def user(*rights):
        words = ("reset", "on", ">secret", "~fulcrum:*", *rights)
        durable_redis.client.execute_command("ACL", "SETUSER", "half", *words)
        return RedisUrl(durable_redis.url.replace("//", "//half:secret@"))

    return user


def test_a_user_without_a_right_that_is_needed_is_refused_and_the_right_named(user):
    for right in RIGHTS[1:]:
        with pytest.raises(FulcrumError, match=rf"run {right[1:].upper()}; allow \+info \+get"):
            open_control(user(*(one for one in RIGHTS if one != right)))


def test_a_user_who_may_not_ask_for_the_settings_is_taken_with_a_warning(user):
    with structlog.testing.capture_logs() as logs:
        store = open_control(user(*RIGHTS))
    assert [line["event"] for line in logs] == ["control_durability_unknown"]
    propose(store)
    assert len(assert_whole(store)) == 1


def test_a_right_that_is_taken_away_later_is_told(user):
    store = open_control(user(*RIGHTS))
    first = propose(store)
    user(*RIGHTS, "-hset")
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
def test_a_document_that_is_none_is_told_and_not_replaced(store, durable_redis, content):
    durable_redis.client.set(DOCUMENT, content)
    with pytest.raises(StateError, match="the document"):
        store.read()
    if content == b"{":
        with pytest.raises(StateError, match="nothing was changed"):
            store.commit(proposal(None))
    assert durable_redis.client.get(DOCUMENT) == content


def test_a_full_memory_changes_nothing(store, durable_redis):
    first = propose(store)
    durable_redis.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(StateError, match=r"its memory is full.*; nothing was changed"):
            store.commit(proposal(store.read()))
    finally:
        durable_redis.client.config_set("maxmemory", 0)
    assert assert_whole(store) == [first]


# What is away.


def test_a_redis_that_is_away_at_the_start_may_yet_come(proxy, user):
    proxy.fault = "refuse"
    url = user(*RIGHTS).secret.replace(f":{proxy.upstream}", f":{proxy.port}")
    with structlog.testing.capture_logs() as logs:
        store = open_control(RedisUrl(url))
    assert [line["event"] for line in logs] == ["control_away"]
    for attempt in (store.read, lambda: store.commit(proposal(None)), lambda: store.events(None, 9)):
        with pytest.raises(StateError, match="Connection refused") as refused:
            attempt()
        assert "secret" not in str(refused.value)
    proxy.fault = "none"
    propose(store)


def test_a_hung_redis_is_told_and_what_comes_of_it_is_whole(store, durable_redis):
    first, change = propose(store), proposal(store.read())
    durable_redis.freeze()
    with pytest.raises(StateError, match="no answer in time"):
        store.read()
    with pytest.raises(StateError, match=r"no answer in time.*; nothing was changed"):
        store.commit(change)
    durable_redis.thaw()
    assert assert_whole(store) == [first]
    propose(store)


def test_a_redis_that_hangs_on_a_change_is_told_as_unknown(store, durable_redis, monkeypatch):
    first, change = propose(store), proposal(store.read())
    send = store._send

    def hang(*given):
        durable_redis.freeze()
        return send(*given)

    monkeypatch.setattr(store, "_send", hang)
    with pytest.raises(StateError, match="not known whether the change was made"):
        store.commit(change)
    durable_redis.thaw()
    monkeypatch.undo()
    wait_until(lambda: change_of(store) == change.document.change)  # it lay in the socket
    assert assert_whole(store) == [first, change.document.change]


def test_a_redis_that_is_killed_and_restarted_has_all_that_it_acknowledged(start_redis):
    server = start_redis(*DURABLE)
    store, taken, ended = opened(server), [], threading.Event()

    def work():
        while not ended.is_set():
            try:
                taken.append(propose(store))
            except StateError:
                time.sleep(0.001)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        enough = len(taken) + 15
        wait_until(lambda: len(taken) >= enough)  # noqa: B023
        server.stop()
        server.start()
    ended.set()
    for thread in threads:
        thread.join()
    history = assert_whole(store)
    assert len(taken) == len(set(taken)) >= 45
    assert set(taken) <= set(history)
    store.close()


# Answers that are lost.


@pytest.mark.parametrize("fault", ["reset", "cut", "hang"])
def test_a_change_whose_answer_was_lost_was_made_once(proxy, store, monkeypatch, fault):
    through = opened(proxy)
    propose(store)
    lose(through, monkeypatch, proxy, fault)
    change = proposal(store.read())
    assert through.commit(change)
    assert len(assert_whole(store)) == 2


def test_a_change_whose_answer_was_lost_is_found_beneath_those_of_others(proxy, store, monkeypatch):
    through = opened(proxy)
    propose(store)
    lose(through, monkeypatch, proxy, "reset", lambda: propose(store))
    change = proposal(store.read())
    assert through.commit(change)
    history = assert_whole(store)
    assert (len(history), history[1]) == (3, change.document.change)


def test_a_change_that_was_lost_with_its_answer_is_not_found(proxy, store, monkeypatch):
    """Another made the event of that number: a change is known by its name."""
    through = opened(proxy)
    propose(store)
    base = store.read()
    lose(through, monkeypatch, proxy, "refuse", lambda: propose(store))
    assert not through.commit(proposal(base))
    assert len(assert_whole(store)) == 2


def test_a_change_without_events_is_unknown_once_another_is_on_top(proxy, store, monkeypatch):
    through = opened(proxy)
    propose(store)
    alone = Change(change_of(store), store.read().model_copy(update={"change": "alone"}))
    lose(through, monkeypatch, proxy, "reset", lambda: propose(store))
    with pytest.raises(StateError, match="not known whether this change was made"):
        through.commit(alone)


def lose(store, monkeypatch, proxy, fault, then=lambda: None):
    """Lose the answer to the next change; after `then` the network is sound again."""
    send = store._send

    def lost(*given):
        monkeypatch.undo()
        proxy.fault = fault
        try:
            return send(*given)
        finally:
            then()
            proxy.fault = "none"

    monkeypatch.setattr(store, "_send", lost)


@pytest.mark.parametrize("seconds", [0.7, pytest.param(60.0, marks=pytest.mark.long)])
def test_whatever_the_network_does_each_change_is_what_its_caller_was_told(proxy, store, seconds):
    """Made once where it was acknowledged, not at all where nothing was changed."""
    told: dict[str, list[str]] = {"made": [], "nothing was changed": [], "not known": []}
    ended = threading.Event()
    draw = random.Random(11)

    def work():
        through = RedisControl(RedisUrl(proxy.url))
        while not ended.is_set():
            change = proposal(store.read())
            try:
                outcome = "made" if through.commit(change) else None
            except StateError as error:
                outcome = re.search("nothing was changed|not known", str(error))[0]
            if outcome:
                told[outcome].append(change.document.change)
        through.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline or not all(told.values()):
        assert time.monotonic() < deadline + 60
        proxy.fault = draw.choice(["none", "reset", "cut", "refuse", "none"])
        time.sleep(draw.uniform(0.0, 0.02))
    ended.set()
    proxy.fault = "none"
    for thread in threads:
        thread.join()
    history = assert_whole(store)
    assert len(history) == len(set(history))
    assert set(told["made"]) <= set(history)
    assert set(history) <= {*told["made"], *told["not known"]}


# Replicas.


@pytest.fixture
def pair(start_redis):
    """A Redis with one replica, none of which writes to its disk."""
    primary = start_redis()
    return primary, replica_of(primary, start_redis)


def replica_of(primary: RedisServer, start_redis) -> RedisServer:
    primary.client.config_set("repl-diskless-sync", "yes")
    primary.client.config_set("repl-diskless-sync-delay", 0)
    replica = start_redis("--replicaof", "127.0.0.1", str(primary.port))
    wait_until(lambda: primary.client.set("written", 1) and primary.client.wait(1, 100) == 1)
    return replica


def test_what_is_acknowledged_is_at_a_replica(pair):
    primary, replica = pair
    store, there = opened(primary), RedisControl(RedisUrl(replica.url))
    for _ in range(5):
        name = propose(store)
        assert change_of(there) == name
    with pytest.raises(StateError, match=r"a replica that is only read.*; nothing was changed"):
        there.commit(proposal(there.read()))


def test_a_change_that_no_replica_confirms_is_told(pair):
    primary, replica = pair
    store = opened(primary)
    propose(store)
    change = proposal(store.read())
    replica.freeze()
    with pytest.raises(StateError, match="the change was made, but no replica confirmed it within 400 ms"):
        store.commit(change)
    replica.thaw()
    assert change_of(store) == change.document.change
    propose(store)
    assert len(assert_whole(store)) == 3
    replica.stop()
    wait_until(lambda: not primary.client.info("replication")["connected_slaves"])
    with pytest.raises(StateError, match=r"no replica and no append-only file.*; nothing was changed"):
        store.commit(proposal(store.read()))


def test_a_fail_over_keeps_what_was_confirmed_and_may_lose_the_rest(pair, start_redis):
    primary, replica = pair
    proxy = FaultyProxy(primary.port)
    store = opened(proxy)
    confirmed = [propose(store) for _ in range(3)]
    replica.client.replicaof("NO", "ONE")  # it lacks what comes now
    primary.client.config_set("appendfsync", "always")
    primary.client.config_set("appendonly", "yes")
    wait_until(lambda: not primary.client.info("replication")["connected_slaves"])
    propose(store)
    assert len(assert_whole(store)) == 4
    stale = proposal(store.read())
    replica_of(replica, start_redis)
    proxy.fault, proxy.upstream = "refuse", replica.port
    with pytest.raises(StateError):
        store.read()
    proxy.fault = "none"
    assert assert_whole(store) == confirmed
    assert not store.commit(stale)
    again = propose(store)
    assert assert_whole(store) == [*confirmed, again]
    proxy.close()


def test_after_a_restart_the_connections_of_before_are_not_in_the_way(start_redis):
    server = start_redis(*DURABLE)
    store = opened(server)
    propose(store)
    server.stop()
    server.start()
    assert store.commit(proposal(None)) is False
    propose(store)
    assert len(assert_whole(store)) == 2
