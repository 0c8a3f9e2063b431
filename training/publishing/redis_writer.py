"""Redis writer: packed rows into Redis, only those that changed. Knows no data sets.

Rows are written before the generation that names them: a first publishing that is killed leaves a store that
no service takes for whole, and a later one rows that are each sound, old or new. Publishing again completes
both. Rows of entities that the data no longer has stay, until they expire if they are given an age.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import redis

from model.encoding import Encoder
from model.errors import FulcrumError
from model.redis_url import RedisUrl
from model.store.packed import TableName, new_generation
from model.store.redis_rows import RedisTable, generation_key

_BATCH = 1000
_TIMEOUT_S = 30.0


class RedisWriter:
    """Writes one encoder's rows.

    Args:
        url: of Redis.
        encoder: made the rows.

    Raises:
        FulcrumError: Redis does not answer.
    """

    def __init__(self, url: RedisUrl, encoder: Encoder) -> None:
        self._encoder = encoder
        self._url = url
        self._generation_key = generation_key(encoder)
        with self._failing_clearly():
            # The client's own types leave values open.
            self._client: Any = redis.Redis.from_url(
                url.secret,
                socket_timeout=_TIMEOUT_S,
                socket_connect_timeout=_TIMEOUT_S,
                driver_info=None,
                protocol=2,
            )
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
        """
        with self._failing_clearly():
            if changed or self._generation is None:
                self._generation = new_generation()
                self._client.set(self._generation_key, self._generation)
            self._client.close()
        return self._generation

    def _held_generation(self) -> str | None:
        held = self._client.mget([self._generation_key])[0]  # None of a wrong type, too
        return held.decode("ascii", "replace") if isinstance(held, bytes) else None

    @contextmanager
    def _failing_clearly(self) -> Iterator[None]:
        try:
            yield
        except (redis.RedisError, OSError) as error:
            raise FulcrumError(
                f"feature store {self._url}: Redis refused or went away ({error}); what was written stays, "
                "publishing again completes it"
            ) from error
