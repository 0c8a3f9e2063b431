"""What a feature store gives: encoded rows by id. Knows neither where they lie nor requests.

Shapes: K ids asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from model.encoding import EncodedRows

__all__ = ["FeatureStore", "StoredRows"]


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


class FeatureStore(Protocol):
    """Encoded users and items by id. Asynchronous, since a store may lie beyond a network."""

    @property
    def generation(self) -> str:
        """Name of the published rows in use."""

    async def users(self, ids: Sequence[str]) -> StoredRows:
        """The users of these ids."""

    async def items(self, ids: Sequence[str]) -> StoredRows:
        """The items of these ids."""
