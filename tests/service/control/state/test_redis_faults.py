"""The control store in Redis that is hung, restarted, failed over, and whose answers are lost."""

from __future__ import annotations

import random
import re
import threading
import time

import pytest
import structlog

from model.redis_url import RedisUrl
from service.control.state.control import Change
from service.control.state.desired import StateError
from service.control.state.opening import open_control
from service.control.state.redis_control import RedisControl
from tests.service.control.state.conftest import DURABLE, RIGHTS
from tests.support.control_changes import assert_whole, change_of, proposal, propose
from tests.support.faulty_proxy import FaultyProxy
from tests.support.redis_server import RedisServer
from tests.support.service_process import wait_until

pytestmark = pytest.mark.slow


def opened(server) -> RedisControl:
    return open_control(RedisUrl(server.url))


# What is away.


def test_a_redis_that_is_away_at_the_start_may_yet_come(proxy, durable_user):
    proxy.fault = "refuse"
    url = durable_user(*RIGHTS).secret.replace(f":{proxy.upstream}", f":{proxy.port}")
    with structlog.testing.capture_logs() as logs:
        store = open_control(RedisUrl(url))
    assert [line["event"] for line in logs] == ["control_away"]
    for attempt in (store.read, lambda: store.commit(proposal(None)), lambda: store.events(None, 9)):
        with pytest.raises(StateError, match="Connection refused") as refused:
            attempt()
        assert "secret" not in str(refused.value)
    proxy.fault = "none"
    propose(store)


def test_a_hung_redis_is_told_and_what_comes_of_it_is_whole(redis_store, durable_redis):
    first, change = propose(redis_store), proposal(redis_store.read())
    durable_redis.freeze()
    with pytest.raises(StateError, match="no answer in time"):
        redis_store.read()
    with pytest.raises(StateError, match=r"no answer in time.*; nothing was changed"):
        redis_store.commit(change)
    durable_redis.thaw()
    assert assert_whole(redis_store) == [first]
    propose(redis_store)


def test_a_redis_that_hangs_on_a_change_is_told_as_unknown(redis_store, durable_redis, monkeypatch):
    first, change = propose(redis_store), proposal(redis_store.read())
    send = redis_store._send

    def hang(*given):
        durable_redis.freeze()
        return send(*given)

    monkeypatch.setattr(redis_store, "_send", hang)
    with pytest.raises(StateError, match="not known whether the change was made"):
        redis_store.commit(change)
    durable_redis.thaw()
    monkeypatch.undo()
    wait_until(lambda: change_of(redis_store) == change.document.change)  # it lay in the socket
    assert assert_whole(redis_store) == [first, change.document.change]


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
def test_a_change_whose_answer_was_lost_was_made_once(proxy, redis_store, monkeypatch, fault):
    through = opened(proxy)
    propose(redis_store)
    lose(through, monkeypatch, proxy, fault)
    change = proposal(redis_store.read())
    assert through.commit(change)
    assert len(assert_whole(redis_store)) == 2


def test_a_change_whose_answer_was_lost_is_found_beneath_those_of_others(proxy, redis_store, monkeypatch):
    through = opened(proxy)
    propose(redis_store)
    lose(through, monkeypatch, proxy, "reset", lambda: propose(redis_store))
    change = proposal(redis_store.read())
    assert through.commit(change)
    history = assert_whole(redis_store)
    assert (len(history), history[1]) == (3, change.document.change)


def test_a_change_that_was_lost_with_its_answer_is_not_found(proxy, redis_store, monkeypatch):
    """Another made the event of that number: a change is known by its name."""
    through = opened(proxy)
    propose(redis_store)
    base = redis_store.read()
    lose(through, monkeypatch, proxy, "refuse", lambda: propose(redis_store))
    assert not through.commit(proposal(base))
    assert len(assert_whole(redis_store)) == 2


def test_a_change_without_events_is_unknown_once_another_is_on_top(proxy, redis_store, monkeypatch):
    through = opened(proxy)
    propose(redis_store)
    alone = Change(change_of(redis_store), redis_store.read().model_copy(update={"change": "alone"}))
    lose(through, monkeypatch, proxy, "reset", lambda: propose(redis_store))
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
def test_whatever_the_network_does_each_change_is_what_its_caller_was_told(proxy, redis_store, seconds):
    """Made once where it was acknowledged, not at all where nothing was changed."""
    told: dict[str, list[str]] = {"made": [], "nothing was changed": [], "not known": []}
    ended = threading.Event()
    draw = random.Random(11)

    def work():
        through = RedisControl(RedisUrl(proxy.url))
        while not ended.is_set():
            change = proposal(redis_store.read())
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
    history = assert_whole(redis_store)
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
