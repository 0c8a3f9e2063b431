"""Redis feature store: published rows of one encoder, one MGET a request. Knows no requests.

Items are remembered in this process until the generation in Redis changes, which each answer tells. Where
Redis gives no answer, nothing is known of anyone, and the look-up says why. So it may be from the beginning:
a store may be opened while Redis is away, and has a generation once it has seen one.

Shapes: K ids asked for.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import compress

import numpy as np
import numpy.typing as npt
import structlog

from model.encoding import Encoder
from model.errors import FulcrumError
from model.store.redis_rows import RedisTable, generation_key
from service.features.cache import ItemCache, Remembered
from service.features.redis_link import LinkError, RedisLink
from service.features.store import Failure, LookUp, StoreAwayError, sound_places, stored_rows

_SEEK_S = 1.0
"""Seconds between two looks for rows that were never seen."""

_NO_RECORDS = np.zeros(0, np.void)

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
        # As requests ask for them: a generation, a user, items.
        self._keys = [self._generation_key, self._users.key(""), self._items.key("")]
        self._user_side, self._item_side = encoder.sides["user"], encoder.sides["item"]
        self._generation: bytes | None = None
        self._found: bool | None = None
        self._next_seek = time.monotonic() + _SEEK_S
        try:
            self._generation = link.read(self._keys)[0]
        except StoreAwayError as error:
            if not await_redis:
                raise
            log.error("feature_store_away", store=name, error=str(error), serving="default features")
        else:
            if self._generation is None:
                raise FulcrumError(
                    f"feature store {name}: no rows of encoder {encoder.fingerprint}; "
                    "run `fulcrum publish` for this bundle and this store"
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
        held = self._cache.find(item_ids)  # copies: others may remember more meanwhile
        asked = item_ids if held is None else list(compress(item_ids, ~held.known))
        user_key, item_keys = self._users.key(user_id), self._items.keys(asked)
        try:
            answer = await self._link.fetch([self._generation_key, user_key, *item_keys], budget_s)
        except LinkError as error:
            return self._nothing(len(item_ids), error.failure)
        generation, user_value, *item_values = answer.values
        user, user_place = self._users.read([user_key], [user_value])
        items, places = self._items.read(item_keys, item_values)
        user_place = sound_places(self._user_side, user, user_place)
        places = sound_places(self._item_side, items, places)
        damaged = [place for place in np.flatnonzero(places < 0).tolist() if item_values[place] is not None]
        failures: list[Failure] = []
        if damaged or answer.foreign or (user_place[0] < 0 and user_value is not None):
            failures.append("feature_store_corrupt")
        if generation is None:
            failures.append("feature_store_missing")
        else:
            self._follow(generation)
            self._remember(asked, items, places, answer.foreign, damaged)
        if held is not None:
            items, places = _together(held, items, places)
        return LookUp(
            stored_rows(self._user_side, user, user_place),
            stored_rows(self._item_side, items, places),
            failures,
            cache_hits=len(item_ids) - len(asked),
            cache_misses=len(asked),
        )

    def _look(self) -> bool | None:
        try:
            generation = self._link.read(self._keys)[0]
        except FulcrumError:
            return None
        if generation is not None and self._generation is None:
            self._generation = generation  # nothing is remembered yet that could be of another
            log.info("generation_found", generation=self.generation)
        return generation is not None

    def _remember(
        self,
        ids: Sequence[str],
        records: npt.NDArray[np.void],
        places: npt.NDArray[np.int64],
        foreign: bool,
        damaged: Sequence[int],
    ) -> None:
        """Not what is damaged, which publishing mends, nor an absence that a wrong type may have feigned."""
        if foreign or damaged:
            worth = places >= 0
            if not foreign:
                worth[:] = True
                worth[damaged] = False
            ids, places = list(compress(ids, worth)), places[worth]
        self._cache.remember(ids, records, places)

    def _follow(self, generation: bytes) -> None:
        if generation != self._generation:
            self._cache.clear()
            self._generation = generation
            log.info("generation_followed", generation=self.generation)

    def _nothing(self, items: int, *failures: Failure) -> LookUp:
        nowhere, nobody = np.full(items, -1), np.full(1, -1)
        return LookUp(
            stored_rows(self._user_side, _NO_RECORDS, nobody),
            stored_rows(self._item_side, _NO_RECORDS, nowhere),
            list(failures),
        )


def _together(
    held: Remembered, records: npt.NDArray[np.void], places: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.void], npt.NDArray[np.int64]]:
    """What was remembered and, in the places between, what was read: records, and each id's place [K]."""
    among = np.empty(len(held.known), np.int64)  # [K]
    among[held.known] = np.where(held.present, np.arange(len(held.records)), -1)
    if not len(places):
        return held.records, among
    among[~held.known] = np.where(places >= 0, places + len(held.records), -1)
    return np.concatenate([held.records, records]), among
