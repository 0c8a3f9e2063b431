"""Redis feature store: published rows of one encoder, one MGET a request. Knows no requests.

Items are remembered in this process until the generation in Redis changes, which each answer tells. Where
Redis gives no answer, nothing is known of anyone, and the look-up says why. So it may be from the beginning:
a store may be opened while Redis is away, and has a generation once it has seen one.

Shapes: K ids asked for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import structlog

from model.encoding import Encoder
from model.errors import FulcrumError
from model.redis_rows import RedisTable, generation_key
from service.features.cache import ItemCache
from service.features.redis_link import LinkError, RedisLink
from service.features.store import Failure, LookUp, StoreAwayError, StoredRows, stored_rows

__all__ = ["RedisStore"]

_SEEK_S = 1.0
"""Seconds between two looks for rows that were never seen."""

log = structlog.get_logger(__name__)


class RedisStore:
    """The rows of `encoder`.

    Args:
        link: to Redis.
        encoder: of the bundle to be served.
        cache: for this encoder's items alone.
        name: of the store, for messages.
        await_redis: whether to go on without rows where Redis does not answer.

    Raises:
        StoreAwayError: Redis does not answer.
        FulcrumError: it lacks this encoder's rows, or refuses to answer.
    """

    def __init__(
        self, link: RedisLink, encoder: Encoder, cache: ItemCache, name: str, await_redis: bool = False
    ) -> None:
        self._link = link
        self._cache = cache
        self._users, self._items = RedisTable(encoder, "users"), RedisTable(encoder, "items")
        self._generation_key = generation_key(encoder)
        self._user_defaults = encoder.sides["user"].defaults
        self._item_defaults = encoder.sides["item"].defaults
        self._generation: bytes | None = None
        self._found: bool | None = None
        self._next_seek = time.monotonic() + _SEEK_S
        try:
            self._generation = link.read(self._generation_key)
        except StoreAwayError as error:
            if not await_redis:
                raise
            log.error("feature_store_away", store=name, error=str(error), serving="default features")
        else:
            if self._generation is None:
                raise FulcrumError(
                    f"feature store {name}: no rows of encoder {encoder.fingerprint}; "
                    f"run `fulcrum publish BUNDLE --to {name}` with this bundle"
                )

    @property
    def generation(self) -> str | None:
        """Name of the published rows in use; None as long as none were seen."""
        return None if self._generation is None else self._generation.decode("ascii", "replace")

    def seek(self) -> bool | None:
        """Where no rows were seen yet, look again, which may block.

        Returns:
            Whether there are any; None while nobody knows.
        """
        if self._generation is not None:
            return True
        if time.monotonic() >= self._next_seek:
            self._next_seek = time.monotonic() + _SEEK_S
            self._found = self._look()
        return self._found

    async def look_up(self, user_id: str, item_ids: Sequence[str], budget_s: float | None = None) -> LookUp:
        """The rows of a user and of items."""
        if budget_s is not None and budget_s <= 0.0:
            return self._nothing(len(item_ids))  # too late to score, too
        held = self._cache.find(item_ids)
        asked = [item for item in item_ids if item not in held] if held else list(item_ids)
        user_key, item_keys = self._users.key(user_id), [self._items.key(item) for item in asked]
        try:
            answer = await self._link.fetch([self._generation_key, user_key, *item_keys], budget_s)
        except LinkError as error:
            return self._nothing(len(item_ids), error.failure)
        generation, user_value, *item_values = answer.values
        user = self._users.row(user_key, user_value)
        read = dict(zip(asked, map(self._items.row, item_keys, item_values), strict=True))
        damaged = {
            item
            for item, value in zip(asked, item_values, strict=True)
            if value is not None and read[item] is None
        }
        failures: list[Failure] = []
        if damaged or answer.foreign or (user is None and user_value is not None):
            failures.append("feature_store_corrupt")
        if generation is None:
            failures.append("feature_store_missing")
        else:
            self._follow(generation)
            self._remember(read, answer.foreign, damaged)
        rows = [*map((read | held).get, item_ids)]
        return LookUp(
            self._user_rows(user),
            self._item_rows(rows),
            failures,
            cache_hits=len(held),
            cache_misses=len(asked),
        )

    def _look(self) -> bool | None:
        try:
            generation = self._link.read(self._generation_key)
        except FulcrumError:
            return None
        if generation is not None and self._generation is None:
            self._generation = generation  # nothing is remembered yet that could be of another
            log.info("generation_found", generation=self.generation)
        return generation is not None

    def _remember(self, read: dict[str, bytes | None], foreign: bool, damaged: set[str]) -> None:
        """Not what is damaged, which publishing mends, nor an absence that a wrong type may have feigned."""
        if foreign:
            read = {item: row for item, row in read.items() if row is not None}
        elif damaged:
            read = {item: row for item, row in read.items() if item not in damaged}
        self._cache.remember(read)

    def _user_rows(self, row: bytes | None) -> StoredRows:
        records = self._users.records([] if row is None else [row])
        return stored_rows(self._user_defaults, records, np.array([-1 if row is None else 0]))

    def _item_rows(self, rows: Sequence[bytes | None]) -> StoredRows:
        present = [row for row in rows if row is not None]
        found = np.array([row is not None for row in rows], np.bool_)
        places = np.where(found, np.cumsum(found) - 1, -1)
        return stored_rows(self._item_defaults, self._items.records(present), places)

    def _follow(self, generation: bytes) -> None:
        if generation != self._generation:
            self._cache.clear()
            self._generation = generation
            log.info("generation_followed", generation=self.generation)

    def _nothing(self, items: int, *failures: Failure) -> LookUp:
        return LookUp(self._user_rows(None), self._item_rows([None] * items), list(failures))
