"""Redis client: how a connection is opened, what Redis must allow, and what failed, in words free of secrets.

A text of the library or of Redis may repeat what was sent, the password too. None is passed on: `explained`
has words of its own. Knows no keys.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from model.errors import FulcrumError
from model.redis_url import RedisUrl

_CLUSTER = "it is a Redis Cluster, which is not supported; name a Redis that holds all keys"
_FORBIDDEN = "its user lacks a permission; see ACL LOG there"

_BY_KIND: tuple[tuple[type[BaseException], str], ...] = (
    (exceptions.NoPermissionError, _FORBIDDEN),
    (exceptions.AuthenticationError, "user or password are missing or wrong; give them in the URL"),
    (exceptions.OutOfMemoryError, "its memory is full"),
    (exceptions.ReadOnlyError, "it is a replica that is only read"),
    (exceptions.BusyLoadingError, "it is still loading its data"),
    (exceptions.ClusterError, _CLUSTER),
    (exceptions.ClusterCrossSlotError, _CLUSTER),
    (exceptions.AskError, _CLUSTER),  # and MovedError
    (TimeoutError, "no answer in time"),
    (exceptions.TimeoutError, "no answer in time"),
)
_BY_TEXT = (
    ("not allowed in cluster mode", _CLUSTER),
    ("unknown command", "it lacks a command that is needed"),
    ("DB index", "it has no database of that number"),
    ("max number of clients", "it has too many clients"),
    ("WRONGTYPE", "a key holds a value of another type"),
    ("MISCONF", "it refuses to write, since it cannot save to its disk"),
    ("NOREPLICAS", "it refuses to write, since it has too few replicas"),
    # As a script passes them on, without their kind:
    ("READONLY", "it is a replica that is only read"),
    ("OOM command", "its memory is full"),
    ("can't run this command", _FORBIDDEN),
    ("ACL failure in script", _FORBIDDEN),
)


class RedisRefusedError(FulcrumError):
    """Redis answers, and will not do what is needed: nothing that passes by itself."""


def connect(url: RedisUrl, timeout_s: float, retry: Retry | None = None) -> Any:
    """A blocking client, which connects when it is first used.

    Args:
        url: of Redis; its options win.
        timeout_s: seconds for a connection, and for an answer.
        retry: of what failed; without one, who asks asks again.
    """
    return redis.Redis.from_url(
        url.secret,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        retry=retry or Retry(NoBackoff(), 0),
        redis_connect_func=_greet,
        driver_info=None,
        protocol=2,
    )


def check(client: Any, name: str, commands: Mapping[str, Sequence[str | bytes]]) -> str | None:
    """Try what will be needed.

    Args:
        client: of `connect`.
        name: of the place, which begins messages.
        commands: each with its arguments, and run once. Redis looks at permissions before it looks at
            arguments, so one that must not write yet is given wrong ones.

    Returns:
        Why keys may vanish there; None where nothing is known that removes them.

    Raises:
        RedisRefusedError: Redis is a cluster, or does not allow a command; names it.
        redis.RedisError, OSError: it does not answer.
    """
    info = _info(client)
    if int(info.get("cluster_enabled", 0)):
        raise RedisRefusedError(f"{name}: {_CLUSTER}")
    for command, arguments in commands.items():
        try:
            client.execute_command(command, *arguments)
        except exceptions.NoPermissionError:
            needed = " ".join(f"+{each.lower()}" for each in commands)
            raise RedisRefusedError(
                f"{name}: Redis does not let its user run {command}; allow {needed} on the keys fulcrum:*"
            ) from None
        except exceptions.ResponseError as error:
            if explained(error) == _CLUSTER or "unknown command" in str(error):
                raise RedisRefusedError(f"{name}: {command}: {explained(error)}") from None
    policy = str(info.get("maxmemory_policy", ""))
    if info.get("maxmemory") and policy.startswith("allkeys"):
        return f"Redis evicts keys when its memory is full (maxmemory-policy {policy}); set noeviction there"
    return None


def explained(error: BaseException) -> str:
    """Why an exchange with Redis failed; repeats nothing that was sent, nor anything of the URL."""
    for kind, words in _BY_KIND:
        if isinstance(error, kind):
            return words
    for text, words in _BY_TEXT:
        if text in str(error):
            return words
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted: {cause.verify_message}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {(cause.reason or 'no reason given').lower().replace('_', ' ')}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
    if isinstance(error, exceptions.ConnectionError):
        return "the connection broke"
    return f"{type(error).__name__} in the exchange"


def _greet(connection: Any) -> None:
    """One exchange at once: with its answer, the session tickets that TLS 1.3 sends unasked are read.

    The pool would take them for the rest of an answer, and refuse the connection as not ready.
    """
    connection.on_connect()
    connection.send_command("PING", check_health=False)
    with contextlib.suppress(exceptions.ResponseError):  # a user who may not has an answer, too
        connection.read_response()


def _info(client: Any) -> dict[str, Any]:
    try:
        return dict(client.info())
    except exceptions.ResponseError:  # not every user may ask
        return {}


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
