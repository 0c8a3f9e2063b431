"""What a feature store gives: encoded rows by id. Knows neither where they lie nor requests.

Shapes: K ids asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from model.encoding import EncodedRows
from model.errors import FulcrumError

Failure = Literal[
    "feature_store_timeout", "feature_store_unreachable", "feature_store_missing", "feature_store_corrupt"
]
"""Why rows are missing that the store may well have, as `degraded` names it: it did not answer in time; it
cannot be reached or does not talk sense; this bundle's rows are gone from it; a value in it is no row."""


class StoreAwayError(FulcrumError):
    """The store does not answer, so that nobody knows what it has."""


@dataclass(frozen=True)
class StoredRows:
    """The rows of some ids, in the order asked for; the caller's own, free to write to.

    Attributes:
        rows: encoded features [K, ...]; every feature missing where the store lacks the id.
        video_len_s: seconds, float64 [K]; NaN where unknown, and for users.
        found: bool [K], whether the store has the id.
    """

    rows: EncodedRows
    video_len_s: npt.NDArray[np.float64]
    found: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class LookUp:
    """What a store had for one request.

    Attributes:
        user: the user, one row.
        items: the candidates.
        failures: what went wrong; the rows that it cost are as if the store lacked them.
        cache_hits: items that this process remembered.
        cache_misses: items that it had to ask for.
    """

    user: StoredRows
    items: StoredRows
    failures: list[Failure] = field(default_factory=list)
    cache_hits: int = 0
    cache_misses: int = 0


class FeatureStore(Protocol):
    """Encoded users and items by id. Asynchronous, since a store may lie beyond a network."""

    @property
    def generation(self) -> str | None:
        """Name of the published rows in use; None as long as none were seen."""

    def seek(self) -> bool | None:
        """Where no rows were seen yet, look again, which may block.

        Returns:
            Whether there are any; None while nobody knows.
        """

    async def look_up(self, user_id: str, item_ids: Sequence[str], budget_s: float | None = None) -> LookUp:
        """The rows of a user and of items, within `budget_s` seconds; never fails."""


def stored_rows(
    defaults: EncodedRows, records: npt.NDArray[np.void], places: npt.NDArray[np.int64]
) -> StoredRows:
    """Rows from packed records.

    Args:
        defaults: the row of which nothing is known [1, ...].
        records: of `model.store.packed`.
        places: where each id's record stands among them, -1 where it has none [K].
    """
    found = places >= 0
    if not found.any():
        return StoredRows(defaults.take(np.zeros(len(places), np.int64)), np.full(len(places), np.nan), found)
    # A column is gathered straight to where it stays; an absent record is the last one at first.
    rows = EncodedRows(records["ids"][places], records["numeric"][places])
    has_length = "video_len_s" in (records.dtype.names or ())
    video_len_s = records["video_len_s"][places] if has_length else np.full(len(places), np.nan)
    if not found.all():
        absent = ~found
        rows.ids[absent], rows.numeric[absent], video_len_s[absent] = defaults.ids, defaults.numeric, np.nan
    return StoredRows(rows, video_len_s, found)
