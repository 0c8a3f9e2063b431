"""Embedded feature store: published rows mapped from a folder into this process. Knows no requests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from model.encoding import Encoder
from model.errors import FulcrumError
from model.store.packed import current_generation, open_tables
from service.features.store import LookUp, stored_rows

_POLL_S = 0.2
"""Seconds between two looks for a newer generation."""

log = structlog.get_logger(__name__)


class EmbeddedStore:
    """The current generation of `root`, followed while serving: a request after a publishing has its rows.

    Raises:
        FulcrumError: the folder lacks this encoder's rows, or a file is damaged.
    """

    def __init__(self, root: Path, encoder: Encoder) -> None:
        self._root = root
        self._encoder = encoder
        self._generation, self._tables = open_tables(root, encoder)
        self._seen = self._generation
        self._next_look = time.monotonic() + _POLL_S
        self._user_defaults = encoder.sides["user"].defaults
        self._item_defaults = encoder.sides["item"].defaults

    @property
    def generation(self) -> str:
        """Name of the published rows in use."""
        return self._generation

    def seek(self) -> bool:
        """There are rows, since this store was opened."""
        return True

    async def look_up(self, user_id: str, item_ids: Sequence[str], budget_s: float | None = None) -> LookUp:
        """The rows of a user and of items, all of one generation."""
        if time.monotonic() >= self._next_look:
            await self._follow(budget_s)
        tables = self._tables  # of one generation
        users, items = tables["users"], tables["items"]
        return LookUp(
            stored_rows(self._user_defaults, users.records, users.find([user_id])),
            stored_rows(self._item_defaults, items.records, items.find(item_ids)),
        )

    async def _follow(self, budget_s: float | None) -> None:
        """Open what was published meanwhile; whoever cannot wait for that goes on with the rows before."""
        self._next_look = time.monotonic() + _POLL_S
        current = current_generation(self._root, self._encoder)
        if current is None or current == self._seen:
            return
        self._seen = current
        opening = asyncio.get_running_loop().run_in_executor(None, self._open)
        await asyncio.wait({opening}, timeout=budget_s)

    def _open(self) -> None:
        try:
            self._generation, self._tables = open_tables(self._root, self._encoder)
        except FulcrumError as error:
            log.error("generation_refused", error=str(error), serving=self._generation)
        else:
            log.info("generation_opened", generation=self._generation)
