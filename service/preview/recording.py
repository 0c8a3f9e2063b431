"""Recording: what a worker remembers of its last answers. Bounded in number, bytes and pace.

Called in the thread that ranks, for each request: most are passed over by one look at the clock.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque

import numpy as np
import orjson

from service.preview.sample import MOST_CANDIDATES, MOST_REQUESTS, Record
from service.ranking.fusing import said_by
from service.ranking.predicted import Predicted

_PACE_S = 0.05
"""Seconds between two records at least."""
_MOST_BYTES = 16 << 20
_MOST_TEXT = 1024
"""Characters of a text that a condition may look at; longer ones, and lists, meet no condition."""


class Recorder:
    """Remembers requests with their predictions, from `start` on; of users only what requests say of them.

    Args:
        pace_s: seconds between two records at least.
        most_bytes: of all records.
    """

    def __init__(self, pace_s: float = _PACE_S, most_bytes: int = _MOST_BYTES) -> None:
        self._pace_s = pace_s
        self._most_bytes = most_bytes
        self._records: deque[Record] = deque()
        self._bytes = 0
        self._next_at = math.inf
        self._lock = threading.Lock()

    def start(self) -> None:
        """Requests are those of callers from now on, not the service's own."""
        self._next_at = 0.0

    def offer(self, predicted: Predicted) -> None:
        """Remember this answer, unless one was remembered just before, or nothing of it was scored."""
        now = time.monotonic()
        if now < self._next_at or not len(predicted.scored):
            return
        with self._lock:
            if now < self._next_at:
                return
            self._next_at = now + self._pace_s
        record = record_of(predicted)
        if record.candidates > MOST_CANDIDATES or record.nbytes > self._most_bytes:
            return
        with self._lock:
            self._records.append(record)
            self._bytes += record.nbytes
            while len(self._records) > MOST_REQUESTS or self._bytes > self._most_bytes:
                self._bytes -= self._records.popleft().nbytes

    @property
    def records(self) -> list[Record]:
        """What is remembered, the oldest first."""
        with self._lock:
            return list(self._records)


def record_of(predicted: Predicted) -> Record:
    """A request as a sample keeps it. Copies: what the request came with can go."""
    query, rows = predicted.query, predicted.scored
    ids = query.ids
    whole = len(rows) == len(ids)
    return Record(
        time.time_ns() // 1_000_000,
        predicted.snapshot.active.bundle.version,
        tuple(predicted.predictions),
        query.scene,
        orjson.dumps({name: value for name, value in said_by(query).items() if _may_count(value)}),
        orjson.dumps(list(ids) if whole else [ids[row] for row in rows.tolist()]),
        np.array(list(predicted.predictions.values()), np.float32),
        predicted.video_len_s[rows],
        predicted.default[rows],
    )


def _may_count(value: object) -> bool:
    return len(value) <= _MOST_TEXT if isinstance(value, str) else not isinstance(value, list)
