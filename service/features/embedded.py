"""Embedded feature store: published rows mapped from a folder into this process. Knows no requests.

Rows are never read from files that somebody wrote to after they were mapped: of a damaged store, nothing is
known of anyone, and the look-up says why, until the folder holds sound rows again.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from model.encoding import Encoder
from model.errors import FulcrumError
from model.store.arrays import StoreDamagedError
from model.store.packed import PackedTable, TableName, generation_stamp, open_tables
from service.features.store import Failure, LookUp, stored_rows

_POLL_S = 0.2
"""Seconds between two looks for a newer generation."""

_PATIENCE_S = 0.25
"""Seconds for which a request waits for a newer generation to be opened; the next ones do not."""

_AGAIN_S = 10.0
"""Seconds until files that could not be used are opened again though they look the same."""

_NO_RECORDS = np.zeros(0, np.void)

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Opened:
    """A generation, mapped."""

    generation: str
    tables: Mapping[TableName, PackedTable]

    @property
    def untouched(self) -> bool:
        return all(table.untouched for table in self.tables.values())


class EmbeddedStore:
    """The current generation of `root`, followed while serving: a request after a publishing has its rows.

    Args:
        root: the store's folder.
        encoder: of the bundle to be served.
        await_rows: whether to go on without rows where the store is damaged.

    Raises:
        StoreDamagedError: a file is damaged.
        FulcrumError: the folder lacks this encoder's rows.
    """

    def __init__(self, root: Path, encoder: Encoder, await_rows: bool = False) -> None:
        self._root = root
        self._encoder = encoder
        self._user_side, self._item_side = encoder.sides["user"], encoder.sides["item"]
        self._opened: _Opened | None = None
        self._failure: str | None = None
        self._again_at = math.inf
        self._looking = threading.Lock()
        self._next_look = time.monotonic() + _POLL_S
        self._stamp = generation_stamp(root, encoder)
        try:
            self._opened = _Opened(*open_tables(root, encoder))
        except StoreDamagedError as error:
            if not await_rows:
                raise
            self._refused(str(error))

    @property
    def generation(self) -> str | None:
        """Name of the published rows in use; None while the store is damaged."""
        opened = self._opened
        return None if opened is None else opened.generation

    def seek(self) -> bool | None:
        """Where there are no rows to use, look again, which may block.

        Returns:
            Whether there are any; None while nobody knows.
        """
        if self._sound() is None and time.monotonic() >= self._next_look:
            self._look()
        return True if self._opened is not None else None

    async def look_up(self, user_id: str, item_ids: Sequence[str], budget_s: float | None = None) -> LookUp:
        """The rows of a user and of items, all of one generation."""
        if time.monotonic() >= self._next_look:
            await self._follow(budget_s)
        opened = self._sound()
        if opened is None:
            return self._nothing(len(item_ids))
        users, items = opened.tables["users"], opened.tables["items"]
        user_rows = stored_rows(self._user_side, users.records, users.find([user_id]))
        item_rows = stored_rows(self._item_side, items.records, items.find(item_ids))
        corrupt = user_rows.damaged or item_rows.damaged
        return LookUp(user_rows, item_rows, ["feature_store_corrupt"] if corrupt else [])

    def _sound(self) -> _Opened | None:
        """The rows in use; given up for good once somebody wrote to their files."""
        opened = self._opened
        if opened is None or opened.untouched:
            return opened
        if self._opened is opened:
            self._opened = None
            log.error(
                "feature_store_damaged",
                error=f"feature store {self._root}: files of generation {opened.generation} were written to "
                "while in use; publish again",
                serving="default features",
            )
        return None

    async def _follow(self, budget_s: float | None) -> None:
        """Open what was published meanwhile; whoever cannot wait for that goes on with the rows before."""
        self._next_look = time.monotonic() + _POLL_S
        looking = asyncio.get_running_loop().run_in_executor(None, self._look)
        await asyncio.wait({looking}, timeout=_PATIENCE_S if budget_s is None else min(budget_s, _PATIENCE_S))

    def _look(self) -> None:
        """Open the current generation where it may be another than at the last look. One thread at a time."""
        if not self._looking.acquire(blocking=False):
            return
        try:
            self._next_look = time.monotonic() + _POLL_S
            stamp = generation_stamp(self._root, self._encoder)
            if stamp == self._stamp and time.monotonic() < self._again_at:
                return
            self._stamp = stamp
            opened = _Opened(*open_tables(self._root, self._encoder))
        except (FulcrumError, OSError) as error:
            self._refused(str(error))
        else:
            self._opened, self._failure, self._again_at = opened, None, math.inf
            log.info("generation_opened", generation=opened.generation)
        finally:
            self._looking.release()

    def _refused(self, why: str) -> None:
        self._again_at = time.monotonic() + _AGAIN_S
        if why != self._failure:
            self._failure = why
            log.error("generation_refused", error=why, serving=self.generation or "default features")

    def _nothing(self, items: int) -> LookUp:
        failures: list[Failure] = ["feature_store_corrupt"]
        return LookUp(
            stored_rows(self._user_side, _NO_RECORDS, np.full(1, -1)),
            stored_rows(self._item_side, _NO_RECORDS, np.full(items, -1)),
            failures,
        )
