"""Redis writer: packed rows into Redis, only those that changed. Knows no data sets.

Rows are written before the generation that names them: a first publishing that is killed leaves a store that
no service takes for whole, and a later one rows that are each sound, old or new. Publishing again completes
both. Before the generation is named, all rows are counted, so that what Redis evicted meanwhile, or lost in a
restart, is not passed over. Rows of entities that the data no longer has stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from model.encoding import Encoder
from model.errors import FulcrumError
from model.redis_client import check, connect, explained
from model.redis_url import RedisUrl
from model.store.packed import TableName, new_generation
from model.store.redis_rows import RedisTable, generation_key

_BATCH = 1000
_TIMEOUT_S = 30.0
_TRIES = 3


class RedisWriter:
    """Writes one encoder's rows.

    Args:
        url: of Redis.
        encoder: made the rows.

    Attributes:
        doubt: why rows may vanish there; None where nothing is known that removes them.

    Raises:
        FulcrumError: Redis does not answer, or will not do what is needed.
    """

    def __init__(self, url: RedisUrl, encoder: Encoder) -> None:
        self._encoder = encoder
        self._url = url
        self._generation_key = generation_key(encoder)
        self._written: list[tuple[RedisTable, Sequence[str]]] = []
        # The client's own types leave values open.
        self._client: Any = connect(url, _TIMEOUT_S, Retry(ExponentialWithJitterBackoff(), _TRIES))
        with self._failing_clearly():
            self.doubt = check(self._client, f"feature store {url}", self._commands())
            self._generation = self._held_generation()

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
        self._written.append((rows, entities))
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
                yield len(keys), len(news)

    def finish(self, changed: bool) -> str:
        """Say that all rows stand, and where something changed, that services forget what they remember.

        Returns:
            The name of the generation.

        Raises:
            FulcrumError: rows are gone again, or Redis refused.
        """
        with self._failing_clearly():
            if changed or self._generation is None:
                self._count()
                self._generation = new_generation()
                self._client.mset({self._generation_key: self._generation})
            self._client.close()
        return self._generation

    def _count(self) -> None:
        expected = sum(len(entities) for _, entities in self._written)
        there = sum(
            self._client.exists(*map(rows.key, entities[start : start + _BATCH]))
            for rows, entities in self._written
            for start in range(0, len(entities), _BATCH)
        )
        if there < expected:
            why = self.doubt or "it evicts keys, was emptied, or came back without them"
            raise FulcrumError(
                f"feature store {self._url}: {expected - there:,} of {expected:,} rows are gone again: "
                f"{why}; give Redis the memory that they need, and publish again"
            )

    def _commands(self) -> dict[str, list[bytes]]:
        users, items = RedisTable(self._encoder, "users"), RedisTable(self._encoder, "items")
        keys = [self._generation_key, users.key(""), items.key("")]
        # The last key has no value: MSET writes nothing.
        return {"MGET": keys, "EXISTS": keys, "MSET": [keys[0], b"", keys[1], b"", keys[2]]}

    def _held_generation(self) -> str | None:
        held = self._client.mget([self._generation_key])[0]  # None of a wrong type, too
        return held.decode("ascii", "replace") if isinstance(held, bytes) else None

    @contextmanager
    def _failing_clearly(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError) as error:
            raise FulcrumError(
                f"feature store {self._url}: Redis refused or went away ({explained(error)}); what was "
                "written stays, publishing again completes it"
            ) from None
