"""What failed in an exchange with Redis, in words that repeat nothing of it."""

from __future__ import annotations

import pytest
from redis import exceptions

from model.redis_client import check, connect, explained
from model.redis_url import RedisUrl
from tests.support.redis_server import (
    free_port,
    redis_cluster,
    redis_process,
    redis_server,
    redis_user,
    tls_redis,
)

__all__ = ["redis_cluster", "redis_process", "redis_server", "redis_user", "tls_redis"]


def failure(url: str) -> str:
    with pytest.raises((exceptions.RedisError, OSError)) as failed:
        connect(RedisUrl(url), 5.0).get("fulcrum:1")
    return explained(failed.value)


def test_each_way_to_fail_has_words_of_its_own(redis_server, tls_redis):
    place = f"127.0.0.1:{redis_server.port}"
    assert failure(f"redis://127.0.0.1:{free_port()}") == "Connection refused"
    assert failure("redis://nowhere.invalid") != "the connection broke"
    assert failure("unix:///nowhere") == "No such file or directory"
    assert failure(f"redis://someone:secret@{place}").startswith("user or password are missing or wrong")
    assert failure(f"redis://{place}/99") == "it has no database of that number"
    assert failure(tls_redis.distrusted) == "its certificate is not accepted: self-signed certificate"
    redis_server.client.rpush("fulcrum:1", "a list")
    assert failure(f"redis://{place}") == "a key holds a value of another type"


@pytest.mark.parametrize(
    "error",
    [
        exceptions.ResponseError("secret"),
        exceptions.ResponseError("unknown command 'AUTH', with args beginning with: 'secret'"),
        exceptions.ConnectionError("Error connecting to secret"),
        exceptions.AuthenticationError("secret"),
        exceptions.NoPermissionError("secret"),
        exceptions.InvalidResponse("secret"),
        exceptions.TimeoutError("secret"),
        OSError("secret"),
        ValueError("secret"),
    ],
    ids=repr,
)
def test_no_text_of_an_error_is_repeated(error):
    assert "secret" not in explained(error)


def test_a_cluster_is_seen_by_a_user_who_may_not_ask_for_it(redis_cluster):
    words = ("SETUSER", "half", "on", ">secret", "~*", "+mget")
    redis_cluster.client.execute_command("ACL", *words)
    client = connect(RedisUrl(redis_cluster.url.replace("//", "//half:secret@")), 5.0)
    with pytest.raises(ValueError, match="a place: MGET: it is a Redis Cluster, which is not supported"):
        check(client, "a place", {"MGET": ["fulcrum:1", "fulcrum:2"]})


def test_a_user_who_may_not_ping_is_met_all_the_same(redis_user):
    assert connect(redis_user("+get"), 5.0).get("fulcrum:1") is None
