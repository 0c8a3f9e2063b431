"""What a feature store gives: encoded rows by id. Knows neither where they lie nor requests.

Shapes: K ids asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from model.encoding import EncodedRows, SideEncoder
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
        found: bool [K], whether the store has the id, and its row is sound.
        damaged: whether any row was none that the encoder makes.
    """

    rows: EncodedRows
    video_len_s: npt.NDArray[np.float64]
    found: npt.NDArray[np.bool_]
    damaged: bool = False


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
    side: SideEncoder, records: npt.NDArray[np.void], places: npt.NDArray[np.int64]
) -> StoredRows:
    """Rows from packed records. One that the encoder cannot have made is as if the store lacked it.

    Args:
        side: made the records.
        records: of `model.store.packed`.
        places: where each id's record stands among them, -1 where it has none [K].
    """
    defaults, found = side.defaults, places >= 0
    if not found.any():
        return StoredRows(defaults.take(np.zeros(len(places), np.int64)), np.full(len(places), np.nan), found)
    # A column is gathered straight to where it stays; an absent record is the last one at first.
    rows = EncodedRows(records["ids"][places], records["numeric"][places])
    video_len_s = _lengths(records, places)
    sound = _sound(side, rows, video_len_s)
    damaged = sound is not None and bool((found & ~sound).any())
    if sound is not None:
        found &= sound
    if not found.all():
        absent = ~found
        rows.ids[absent], rows.numeric[absent], video_len_s[absent] = defaults.ids, defaults.numeric, np.nan
    return StoredRows(rows, video_len_s, found, damaged)


def sound_places(
    side: SideEncoder, records: npt.NDArray[np.void], places: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """`places` among `records`, as in `stored_rows`, less those of unsound records: -1."""
    sound = _sound(side, EncodedRows(records["ids"], records["numeric"]), _lengths(records, slice(None)))
    return places if sound is None else np.where((places >= 0) & sound[places], places, -1)


def _lengths(records: npt.NDArray[np.void], places: npt.NDArray[np.int64] | slice) -> npt.NDArray[np.float64]:
    if "video_len_s" in (records.dtype.names or ()):
        lengths: npt.NDArray[np.float64] = records["video_len_s"][places]
        return lengths
    return np.full(len(records[places]), np.nan)


def _sound(
    side: SideEncoder, rows: EncodedRows, video_len_s: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_] | None:
    """Which rows the encoder may have made [K]; None where all are: ids that the tables have, finite numbers,
    no negative length. A row of a right checksum may be none, too, where somebody else wrote it.
    """
    # As unsigned numbers, negative ones are large: one comparison finds both ends.
    beyond = rows.ids.view(np.uint64) >= side.table_rows.view(np.uint64)  # [K, id columns]
    odd = ~np.isfinite(rows.numeric)  # [K, numeric columns]
    lengths = (video_len_s < 0.0) | np.isinf(video_len_s)  # [K]
    if not (beyond.any() or odd.any() or lengths.any()):
        return None
    sound: npt.NDArray[np.bool_] = ~(beyond.any(axis=1) | odd.any(axis=1) | lengths)
    return sound
