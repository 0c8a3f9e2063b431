"""Item cache: records of items read lately, bounded in number and in age. Knows nothing of where they lie.

Not for threads: the event loop alone reads and writes it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

__all__ = ["ItemCache"]

_ABSENT_S = 5.0
"""Seconds for which an absence is remembered: a video published meanwhile is met that soon at the latest."""


class ItemCache:
    """The least recently used goes first.

    Args:
        capacity: most items; 0 remembers none.
        ttl_s: seconds for which a record is remembered.
        clock: seconds.
    """

    def __init__(self, capacity: int, ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = capacity
        self._ttl_s = ttl_s
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, bytes | None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, ids: Iterable[str]) -> dict[str, bytes | None]:
        """What is remembered of `ids`: the record, or None of an item that the store lacked."""
        entries, now = self._entries, self._clock()
        held = {}
        for item in ids:
            entry = entries.get(item)
            if entry is not None and entry[0] > now:
                entries.move_to_end(item)
                held[item] = entry[1]
        return held

    def remember(self, rows: dict[str, bytes | None]) -> None:
        """What the store answered."""
        if not self._capacity:
            return
        entries, now = self._entries, self._clock()
        present, absent = now + self._ttl_s, now + min(self._ttl_s, _ABSENT_S)
        for item, row in rows.items():
            entries[item] = (absent if row is None else present, row)
            entries.move_to_end(item)
        while len(entries) > self._capacity:
            entries.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._entries.clear()
