"""A Redis URL shows where it leads, never how to log in there; what the client would trip over is refused."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
import redis
import redis.asyncio

from model.errors import FulcrumError
from model.redis_url import RedisUrl, folder_or_redis


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost", "redis://localhost"),
        ("redis://:secret@localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://me:sec@ret@localhost:6379/1", "redis://localhost:6379/1"),
        ("redis://me:sec%2Fret@[::1]:6379", "redis://[::1]:6379"),
        ("rediss://cache.example/0?password=secret&ssl_cert_reqs=none", "rediss://cache.example/0"),
        ("unix://me:secret@/run/redis.sock?db=1", "unix:///run/redis.sock"),
    ],
)
def test_a_url_shows_no_user_no_password_and_no_options(url, shown):
    made = RedisUrl(url)
    assert (str(made), repr(made), made.secret) == (shown, f"RedisUrl({shown!r})", url)


@pytest.mark.parametrize(
    "url",
    [
        "redis://me:sec/ret@localhost/0",
        "redis://me:1/ret@localhost/0",
        "redis://me:sec#ret@localhost/0",
        "redis://me:1?ret@localhost/0",
        "redis://me:sec[ret@localhost/0",
        "redis://me:sécret@localhost/0",
        "unix://me:sec/ret@/run/redis.sock",
        "unix://me:sec@/ret@/run/redis.sock",
        "unix:///run/redis.sock?password=sec@ret",
        "redis:/me:secret@localhost/0",
        "http://me:secret@localhost/0",
        "redis://localhost:port/0",
        "redis://localhost:65536/0",
        "redis://localhost/zero",
        "redis://local\nhost",
        "redis://localhost/0?password=secret&ret=1",
        "redis://localhost/0?db=ret",
        "redis://localhost/0?ssl_cert_reqs=none",
    ],
)
def test_what_is_no_redis_url_is_refused_in_one_line_that_repeats_none_of_it(url):
    with pytest.raises(FulcrumError, match="Redis URL") as refused:
        RedisUrl(url)
    text = "".join(traceback.format_exception_only(refused.value))
    assert not [part for part in ("sec", "ret@", "localhost", "ret=") if part in text]
    assert len(str(refused.value).splitlines()) == 1


def test_an_unknown_option_is_refused_with_those_that_exist():
    with pytest.raises(FulcrumError, match="unknown option in the Redis URL; known options are db, username"):
        RedisUrl("redis://localhost?time_out=3")


@pytest.mark.parametrize(
    "url",
    [
        "unix:///run/redis.sock?db=1&client_name=a&socket_timeout=0.5&health_check_interval=9",
        "redis://localhost?username=a&password=b&socket_connect_timeout=1&socket_keepalive=true",
        "rediss://localhost?ssl_cert_reqs=none&ssl_ca_certs=a&ssl_ca_path=b&ssl_certfile=c&ssl_keyfile=d"
        "&ssl_check_hostname=false",
    ],
)
@pytest.mark.parametrize("client", [redis, redis.asyncio], ids=["blocking", "asyncio"])
def test_the_client_takes_every_known_option(url, client):
    pool = client.ConnectionPool.from_url(RedisUrl(url).secret)
    assert pool.connection_class(**pool.connection_kwargs) is not None


def test_a_place_is_a_folder_or_a_redis():
    assert folder_or_redis("a/store") == folder_or_redis(Path("a/store")) == Path("a/store")
    assert str(folder_or_redis("redis://me:secret@localhost")) == "redis://localhost"
    with pytest.raises(FulcrumError, match="expected a folder or a Redis URL, found nothing"):
        folder_or_redis("")
