"""Embedded feature store: published rows mapped from a folder into this process. Knows no requests.

Shapes: K ids asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model.encoding import EncodedRows, Encoder
from model.packed import PackedTable, open_tables
from service.features.store import StoredRows

__all__ = ["EmbeddedStore"]


class EmbeddedStore:
    """The generation of `root` that is current at the time of opening.

    Raises:
        FulcrumError: the folder lacks this encoder's rows, or a file is damaged.
    """

    def __init__(self, root: Path, encoder: Encoder) -> None:
        self._generation, tables = open_tables(root, encoder)
        self._users, self._items = tables["users"], tables["items"]
        self._user_defaults = encoder.sides["user"].defaults
        self._item_defaults = encoder.sides["item"].defaults

    @property
    def generation(self) -> str:
        """Name of the published rows in use."""
        return self._generation

    async def users(self, ids: Sequence[str]) -> StoredRows:
        """The users of these ids."""
        return _gather(self._users, self._user_defaults, ids)

    async def items(self, ids: Sequence[str]) -> StoredRows:
        """The items of these ids."""
        return _gather(self._items, self._item_defaults, ids)


def _gather(table: PackedTable, defaults: EncodedRows, ids: Sequence[str]) -> StoredRows:
    places = table.find(ids)  # [K], -1 where absent
    found = places >= 0
    rows = defaults.take(np.zeros(len(ids), np.int64))
    video_len_s = np.full(len(ids), np.nan)
    records = table.records[places[found]]
    rows.ids[found] = records["ids"]
    rows.numeric[found] = records["numeric"]
    if "video_len_s" in (records.dtype.names or ()):
        video_len_s[found] = records["video_len_s"]
    return StoredRows(rows, video_len_s, found)
