"""Redis link: keys to values over a bounded pool, and a name for each way in which that fails. Knows no rows.

An exchange with Redis runs in a task of its own, to its end or to its time limit: a caller that is cancelled,
or whose time is up, leaves it alone. So no connection goes back to the pool with half an answer on it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

import redis
import redis.asyncio
import structlog
from hiredis import pack_command
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError

from model.redis_client import RedisRefusedError, check, connect, explained
from model.redis_url import RedisUrl
from service.features.breaker import Breaker
from service.features.store import Failure, StoreAwayError

_PATIENCE = 4
"""An exchange may take this many times as long as a request waits for it, then its connection is closed."""

_CONNECT_S = 1.0
"""Seconds in which a connection must stand; the requests meanwhile go on without it."""

_CHECK_S = 2.0
"""Seconds for the check at loading, which no request waits for."""

log = structlog.get_logger(__name__)


class LinkError(Exception):
    """No answer from Redis, and why."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure
        super().__init__(failure)


@dataclass(frozen=True)
class Answer:
    """What Redis holds.

    Attributes:
        values: of each key, None where there is none.
        foreign: whether a key without a value holds something that is no string.
    """

    values: list[bytes | None]
    foreign: bool


class RedisLink:
    """One process's connections to one Redis, for the stores of all bundles; opened by the first request.

    Args:
        url: of Redis.
        timeout_s: seconds that a request waits at most.
        connections: most connections.
    """

    def __init__(self, url: RedisUrl, timeout_s: float, connections: int) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._connections = connections
        self._breaker: Breaker[Failure] = Breaker()
        self._free = asyncio.Semaphore(connections)
        self._exchanges: set[asyncio.Task[Answer]] = set()
        self._doubted = False
        self._client: Any = None  # redis.asyncio.Redis, whose own types leave values open

    @property
    def healthy(self) -> bool:
        """Whether Redis answers, as far as the last requests know."""
        return not self._breaker.open

    async def fetch(self, keys: Sequence[bytes], budget_s: float | None = None) -> Answer:
        """The values of `keys`, read at one moment.

        Raises:
            LinkError: there is no answer within the time, or none at all.
        """
        refused = self._breaker.refuses()
        if refused is not None:
            raise LinkError(refused)
        wait_s = self._timeout_s if budget_s is None else min(budget_s, self._timeout_s)
        time_is_up = asyncio.get_running_loop().time() + wait_s
        try:
            async with asyncio.timeout_at(time_is_up):
                await self._free.acquire()
                exchange = self._begin(keys)
                await asyncio.wait({exchange})
        except TimeoutError:
            if wait_s >= self._timeout_s:  # a caller in a greater hurry says nothing about Redis
                self._failed("feature_store_timeout", f"no answer within {wait_s:g} s")
            raise LinkError("feature_store_timeout") from None
        return exchange.result()

    def read(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """Values at once and on a connection of its own, after a check that requests may ask for such keys.

        For loading, off the event loop.

        Raises:
            StoreAwayError: Redis does not answer.
            FulcrumError: it answers, and refuses.
        """
        name = f"feature store {self._url}"
        try:
            with connect(self._url, _CHECK_S) as client:
                doubt = check(client, name, {"MGET": keys, "EXISTS": keys})
                values: list[bytes | None] = client.mget(keys)
        except (AuthenticationError, ResponseError) as error:
            raise RedisRefusedError(
                f"{name}: Redis refuses ({explained(error)}); correct the setting features"
            ) from None
        except (RedisError, OSError) as error:
            raise StoreAwayError(
                f"{name}: no answer from Redis ({explained(error)}); "
                "start it, or correct the setting features"
            ) from None
        if doubt and not self._doubted:
            self._doubted = True
            log.warning("feature_store_may_lose_rows", store=str(self._url), why=doubt)
        return values

    async def close(self) -> None:
        """Close all connections."""
        for exchange in self._exchanges:
            exchange.cancel()
        await asyncio.gather(*self._exchanges, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _begin(self, keys: Sequence[bytes]) -> asyncio.Task[Answer]:
        exchange = asyncio.create_task(self._exchange(keys))
        self._exchanges.add(exchange)
        exchange.add_done_callback(self._ended)
        return exchange

    async def _exchange(self, keys: Sequence[bytes]) -> Answer:
        began = time.monotonic()
        try:
            answer = await self._ask(keys)
        except (redis.exceptions.TimeoutError, TimeoutError) as error:
            self._failed("feature_store_timeout", explained(error))
            raise LinkError("feature_store_timeout") from error
        except LinkError as error:
            self._failed(error.failure, "an answer to another question")
            raise
        except Exception as error:  # what a garbled answer does to the client is not only a RedisError
            self._failed("feature_store_unreachable", explained(error))
            raise LinkError("feature_store_unreachable") from error
        if time.monotonic() - began <= self._timeout_s:
            self._succeeded()
        return answer

    async def _ask(self, keys: Sequence[bytes]) -> Answer:
        if self._client is None:
            self._client = self._new_client()
        values = await self._mget(self._client.connection_pool, keys)
        kinds = set(map(type, values)) if isinstance(values, list) and len(values) == len(keys) else {None}
        if not kinds <= {bytes, NoneType}:
            await self._client.connection_pool.disconnect(inuse_connections=False)
            raise LinkError("feature_store_corrupt")
        if NoneType not in kinds:
            return Answer(values, foreign=False)
        absent = [key for key, value in zip(keys, values, strict=True) if value is None]
        # MGET says nothing of a list or a hash in the place of a row.
        return Answer(values, await self._client.execute_command("EXISTS", *absent) > 0)

    async def _mget(self, pool: Any, keys: Sequence[bytes]) -> Any:
        """By a connection itself: the client packs a command in Python, key by key."""
        command = pack_command(("MGET", *keys))  # type: ignore[arg-type]  # of any length
        connection = await pool.get_connection()
        try:
            await connection.send_packed_command([command])
            return await connection.read_response(disable_decoding=True)
        finally:
            await pool.release(connection)

    def _new_client(self) -> redis.asyncio.Redis:
        pool = redis.asyncio.ConnectionPool.from_url(
            self._url.secret,
            max_connections=self._connections,
            socket_timeout=self._timeout_s * _PATIENCE,
            socket_connect_timeout=_CONNECT_S,
            retry=Retry(NoBackoff(), 0),
            driver_info=None,
            protocol=2,
        )
        return redis.asyncio.Redis.from_pool(pool)

    def _ended(self, exchange: asyncio.Task[Answer]) -> None:
        self._exchanges.discard(exchange)
        self._free.release()
        if not exchange.cancelled():
            exchange.exception()  # seen: its caller may have gone

    def _succeeded(self) -> None:
        if self._breaker.open:
            log.info("feature_store_back", store=str(self._url))
        self._breaker.succeeded()

    def _failed(self, failure: Failure, why: str) -> None:
        was_open = self._breaker.open
        self._breaker.failed(failure)
        if self._breaker.open and not was_open:
            log.error("feature_store_away", store=str(self._url), reason=failure, error=why)
