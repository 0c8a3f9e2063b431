"""Redis writer: packed rows into Redis, only those that changed. Knows no data sets.

Rows are written before the generation that names them: a first publishing that is killed leaves a store that
no service takes for whole, and a later one rows that are each sound, old or new. Publishing again completes
both. Rows of entities that the data no longer has stay, until they expire if they are given an age.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import numpy.typing as npt
import redis

from model.encoding import Encoder
from model.errors import FulcrumError
from model.store.packed import TableName, new_generation
from model.store.redis_rows import RedisTable, generation_key

__all__ = ["RedisWriter", "is_redis"]

_BATCH = 1000
_TIMEOUT_S = 30.0
_SCHEMES = ("redis", "rediss", "unix")


def is_redis(target: str) -> bool:
    """Whether a target of publishing is a Redis URL."""
    return target.partition("://")[0] in _SCHEMES and "://" in target


class RedisWriter:
    """Writes one encoder's rows.

    Args:
        url: redis://, rediss:// or unix://.
        encoder: made the rows.
        ttl_s: seconds after which rows that are not published again vanish, None for never.

    Raises:
        FulcrumError: the URL is none of Redis, or Redis does not answer.
    """

    def __init__(self, url: str, encoder: Encoder, ttl_s: int | None = None) -> None:
        self._encoder = encoder
        self._ttl_s = ttl_s
        self._shown = _without_password(url)
        self._generation_key = generation_key(encoder)
        with self._failing_clearly():
            # The client's own types leave values open.
            self._client: Any = redis.Redis.from_url(
                url,
                socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
                driver_info=None,
                protocol=2,
            )
            self._generation = self._held_generation()
            self._expired = self._generation is not None and self._client.ttl(self._generation_key) >= 0

    def write(
        self,
        table: TableName,
        entities: Sequence[str],
        records: npt.NDArray[np.void],
    ) -> Iterator[tuple[int, int]]:
        """Write the rows that differ from what Redis holds, batch by batch.

        Args:
            table: users or items.
            entities: unique ids [R].
            records: theirs [R].

        Yields:
            Rows of a batch, and how many of them differed.
        """
        rows = RedisTable(self._encoder, table)
        with self._failing_clearly():
            for start in range(0, len(entities), _BATCH):
                keys = [rows.key(entity) for entity in entities[start : start + _BATCH]]
                values = rows.values(keys, records[start : start + _BATCH])
                held = self._client.mget(keys)
                news = {
                    key: value for key, value, old in zip(keys, values, held, strict=True) if value != old
                }
                if news:
                    self._client.mset(news)
                self._set_age(keys)
                yield len(keys), len(news)

    def finish(self, changed: bool) -> str:
        """Say that all rows stand, and where something changed, that services forget what they remember.

        Returns:
            The name of the generation.
        """
        with self._failing_clearly():
            if changed or self._generation is None:
                self._generation = new_generation()
                self._client.set(self._generation_key, self._generation)
            self._set_age([self._generation_key])
            self._client.close()
        return self._generation

    def _held_generation(self) -> str | None:
        held = self._client.mget([self._generation_key])[0]  # None of a wrong type, too
        return held.decode("ascii", "replace") if isinstance(held, bytes) else None

    def _set_age(self, keys: Sequence[bytes]) -> None:
        if self._ttl_s is None and not self._expired:
            return
        with self._client.pipeline(transaction=False) as pipeline:
            for key in keys:
                if self._ttl_s is None:
                    pipeline.persist(key)
                else:
                    pipeline.expire(key, self._ttl_s)
            pipeline.execute()

    @contextmanager
    def _failing_clearly(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError, ValueError) as error:
            raise FulcrumError(
                f"feature store {self._shown}: Redis refused or went away ({error}); what was written stays, "
                "publishing again completes it"
            ) from error


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
