"""Breaker: keeps a dead store from costing every request its wait. Knows nothing of what it protects."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

_THRESHOLD = 3
"""Failures in a row that open it."""

_PAUSE_S = 0.3
"""Seconds between two trials while it is open."""

_F = TypeVar("_F")


class Breaker(Generic[_F]):
    """Closed while things work; open after some failures in a row, but for one trial every so often."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failures = 0
        self._next_trial = 0.0
        self.last_failure: _F | None = None

    @property
    def open(self) -> bool:
        """Whether callers are kept away."""
        return self._failures >= _THRESHOLD

    def refuses(self) -> _F | None:
        """The failure that callers are spared, None for a caller that may try."""
        now = self._clock()
        if not self.open or now >= self._next_trial:
            self._next_trial = now + _PAUSE_S
            return None
        return self.last_failure

    def succeeded(self) -> None:
        """A caller had its answer."""
        self._failures = 0

    def failed(self, failure: _F) -> None:
        """A caller had none."""
        self._failures += 1
        self._next_trial = self._clock() + _PAUSE_S
        self.last_failure = failure
