"""Item cache: records of items read lately, bounded in number and in age. Knows nothing of where they lie.

Not for threads: the event loop alone reads and writes it. It is made to be asked for hundreds of items at
once: records lie in one array that is written round and round, so the item remembered longest ago, which
would be the first to come of age, makes room for the next.

Shapes: K ids asked for, H of them remembered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import numpy.typing as npt

_ABSENT_S = 5.0
"""Seconds for which an absence is remembered: a video published meanwhile is met that soon at the latest."""


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """What is remembered of some ids.

    Attributes:
        known: whether it is anything: a record, or that the store lacked the item. bool [K].
        records: copies [H].
        present: whether there is a record [H].
    """

    known: npt.NDArray[np.bool_]
    records: npt.NDArray[np.void]
    present: npt.NDArray[np.bool_]


class ItemCache:
    """The one remembered longest ago goes first.

    Args:
        capacity: most items; 0 remembers none.
        ttl_s: seconds for which a record is remembered.
        clock: seconds.
    """

    def __init__(self, capacity: int, ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._ttl_s = ttl_s
        self._clock = clock
        self._slots: dict[str, int] = {}
        self._owners: list[str | None] = [None] * capacity
        self._until = np.zeros(capacity)
        self._present = np.zeros(capacity, np.bool_)
        self._records: npt.NDArray[np.void] | None = None  # of the first record's kind
        self._next = 0

    def __len__(self) -> int:
        return len(self._slots)

    def find(self, ids: Sequence[str]) -> Remembered | None:
        """What is remembered of `ids`; None where that is nothing."""
        if self._records is None or not self._slots:
            return None
        slots = np.fromiter(map(self._slots.get, ids, repeat(-1)), np.int64, len(ids))  # [K]
        known = (slots >= 0) & (self._until[slots] > self._clock())
        if not known.any():
            return None
        held = slots[known]  # [H]
        return Remembered(known, self._records[held], self._present[held])

    def remember(
        self, ids: Sequence[str], records: npt.NDArray[np.void], places: npt.NDArray[np.int64]
    ) -> None:
        """What the store answered.

        Args:
            ids: of the items that it was asked for [K].
            records: those that it had.
            places: where each item's record stands among them, -1 where it had none [K].
        """
        ids, places = ids[: self._capacity], places[: self._capacity]
        if not ids:
            return
        if self._records is None:
            self._records = np.zeros(self._capacity, records.dtype)
        slots = (self._next + np.arange(len(ids))) % self._capacity  # [K]
        self._next = int(slots[-1] + 1) % self._capacity
        for item, slot in zip(ids, slots.tolist(), strict=True):
            owner = self._owners[slot]
            if owner is not None and self._slots.get(owner) == slot:
                del self._slots[owner]
            self._owners[slot] = item
            self._slots[item] = slot
        present, now = places >= 0, self._clock()
        self._present[slots] = present
        self._until[slots] = np.where(present, now + self._ttl_s, now + min(self._ttl_s, _ABSENT_S))
        self._records[slots[present]] = records[places[present]]

    def clear(self) -> None:
        """Forget everything."""
        self._slots.clear()
        self._owners = [None] * self._capacity
