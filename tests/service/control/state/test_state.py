"""The desired state: in a file and in Redis alike, and what is made of damage and absence."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import pytest
import redis
import structlog

from model.errors import FulcrumError
from model.redis_url import RedisUrl
from service.control.state.desired import Desired, StateError
from service.control.state.file import FileState
from service.control.state.opening import open_state
from service.control.state.redis import KEY, RedisState
from tests.support.redis_server import RedisServer, free_port

VERSION = f"sha256:{'ab' * 32}"


def test_nothing_written_means_the_newest(tmp_path, redis_server):
    assert FileState(tmp_path / "state.json").read() == Desired()
    assert RedisState(RedisUrl(redis_server.url)).read() == Desired()


def test_what_was_written_is_read_elsewhere(tmp_path, redis_server):
    for where in (tmp_path / "state.json", RedisUrl(redis_server.url)):
        open_state(where).write(Desired(bundle=VERSION))
        assert open_state(where).read().bundle == VERSION
    assert list(tmp_path.iterdir()) == [tmp_path / "state.json"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "expected a mapping, found a list of 0"),
        (b'{"schema_version": 2}', "schema_version"),
        (b'{"bundle": "newest"}', "bundle: "),
        (b'{"bundles": []}', "bundles: "),
        (b" " * 70_000, "more than"),
    ],
)
def test_damage_is_told_with_its_place(tmp_path, redis_server, content, says):
    file = tmp_path / "state.json"
    file.write_bytes(content)
    with pytest.raises(StateError, match=says) as refused:
        FileState(file).read()
    assert str(file) in str(refused.value)
    redis_server.client.set(KEY, content)
    with pytest.raises(StateError, match=says):
        RedisState(RedisUrl(redis_server.url)).read()


def test_a_key_of_another_type_is_told(redis_server):
    redis_server.client.lpush(KEY, "x")
    with pytest.raises(StateError, match="cannot be read"):
        RedisState(RedisUrl(redis_server.url)).read()


def test_a_redis_that_is_away_is_told_at_once_and_without_the_password():
    state = RedisState(RedisUrl(f"redis://user:secret@127.0.0.1:{free_port()}/0"))
    for attempt in (state.read, lambda: state.write(Desired())):
        with pytest.raises(StateError) as refused:
            attempt()
        assert "secret" not in str(refused.value)


def test_a_state_is_named_without_what_its_url_keeps_secret():
    for url in (
        "redis://someone:secret@cache:6379/0",
        "rediss://cache:6379/0?username=someone&password=secret",
    ):
        assert RedisState(RedisUrl(url)).name == f"state {KEY} in {url.partition(':')[0]}://cache:6379/0"


def test_a_redis_that_comes_back_is_read_again(redis_process: RedisServer):
    server = RedisServer(redis_process.binary)
    state = RedisState(RedisUrl(server.url))
    server.start()
    state.write(Desired(bundle=VERSION))
    server.stop()
    with pytest.raises(StateError):
        state.read()
    server.start()
    assert state.read() == Desired()
    server.stop()


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(StateError, match="cannot be written"):
        FileState(tmp_path / "absent" / "state.json").write(Desired())


def test_a_failed_write_leaves_what_was(tmp_path, monkeypatch):
    file = tmp_path / "state.json"
    state = FileState(file)
    state.write(Desired(bundle=VERSION))

    def full(*_: object) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(StateError, match="No space left"):
        state.write(Desired())
    assert state.read().bundle == VERSION
    assert list(tmp_path.iterdir()) == [file]


def test_a_pipe_as_the_state_file_is_an_error_and_not_a_wait(tmp_path):
    os.mkfifo(tmp_path / "state.json")
    with pytest.raises(StateError, match="not a regular file"):
        FileState(tmp_path / "state.json").read()


def test_a_write_whose_answer_was_lost_has_happened(redis_server, monkeypatch):
    state = RedisState(RedisUrl(redis_server.url))
    write = state._redis.set

    def lost(*given):
        write(*given)
        raise redis.TimeoutError("no answer")

    monkeypatch.setattr(state._redis, "set", lost)
    state.write(Desired(bundle=VERSION))
    assert state.read().bundle == VERSION
    monkeypatch.setattr(
        state._redis, "set", lambda *_: (_ for _ in ()).throw(redis.TimeoutError("no answer"))
    )
    with pytest.raises(StateError, match="cannot be written"):
        state.write(Desired())


def test_a_user_who_may_not_do_what_the_state_needs_is_refused_at_the_start(redis_server, redis_user):
    with pytest.raises(FulcrumError, match=r"run GET; allow \+get on"):
        open_state(redis_user("+set"))
    reader = open_state(redis_user("+get"))
    assert reader.read() == Desired()
    with pytest.raises(FulcrumError, match=r"run SET; allow \+get \+set on"):
        open_state(redis_user("+get"), writes=True)
    open_state(redis_user("+get", "+set"), writes=True).write(Desired(bundle=VERSION))
    assert reader.read().bundle == VERSION


def test_asking_at_the_start_writes_nothing(redis_server):
    open_state(RedisUrl(redis_server.url), writes=True)
    assert redis_server.client.keys("*") == []


def test_a_redis_that_is_away_at_the_start_may_yet_come():
    with pytest.raises(StateError):
        open_state(RedisUrl(f"redis://127.0.0.1:{free_port()}")).read()


def test_the_state_over_tls_is_read_every_time(tls_redis):
    for _ in range(20):
        assert open_state(RedisUrl(tls_redis.url)).read() == Desired()


def test_a_cluster_is_refused_at_the_start(redis_cluster):
    with pytest.raises(FulcrumError, match="it is a Redis Cluster, which is not supported"):
        open_state(RedisUrl(redis_cluster.url))


def test_what_redis_repeats_of_the_password_is_not_passed_on(tactless_redis):
    state = RedisState(RedisUrl(tactless_redis.url))
    for attempt in (lambda: state.check(True), state.read, lambda: state.write(Desired())):
        with pytest.raises(FulcrumError, match="lacks a command") as refused:
            attempt()
        assert "secret" not in "".join(traceback.format_exception(refused.value))


def test_a_redis_that_may_forget_the_state_is_named_at_the_start(redis_server):
    redis_server.client.config_set("maxmemory", 1 << 40)
    redis_server.client.config_set("maxmemory-policy", "allkeys-lru")
    try:
        with structlog.testing.capture_logs() as logs:
            open_state(RedisUrl(redis_server.url))
    finally:
        redis_server.client.config_set("maxmemory", 0)
        redis_server.client.config_set("maxmemory-policy", "noeviction")
    (line,) = logs
    assert (line["event"], "allkeys-lru" in line["why"]) == ("state_may_be_lost", True)
