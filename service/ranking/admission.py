"""Admission: who is let in, by what the work before them costs. Knows rows and seconds, not what they are.

What a row and a request cost is learned from the requests themselves: it follows bundle, machine and load.
Refusing at once is the kindest answer to a request that would have waited in vain.

Not for threads, but for `Ticket.scored`, which the thread that computes the request calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from service.contract.errors import OverloadedError

Shed = Literal["queue_full", "wait_too_long"]

_MEMORY = 0.95
"""Weight of the past at each request: about the last 20 count."""

_STALL = 3.0
"""A request that takes more than so many times what was expected counts as if it took that."""

_ROWS_OF_A_CALL = 25
"""A network call costs about as much as so many rows, however few it has."""

_SHORT_S = 0.02
"""Seconds of waiting that are no overload: who cannot wait even that is answered, unscored if need be."""

_MARGIN = 0.8
"""Share of a request's time that waiting and its first chunk may be expected to take: estimates err."""


class Cost:
    """Seconds that rows take in the network, and those that a request takes beside it, on its thread.

    Sums that fade, not means of quotients: a request of one row says little of what a row costs.

    Args:
        chunk: rows of one network call.
    """

    def __init__(self, chunk: int) -> None:
        self._chunk = chunk
        self._units = self._unit_seconds = 0.0
        self._requests = self._request_seconds = 0.0

    def learn(self, rows: int, network_s: float, beside_s: float) -> None:
        """A request of so many rows took so long."""
        beside_s = _without_stall(beside_s, self.request_s)
        network_s = _without_stall(network_s, self.rows_s(rows))
        self._requests = self._requests * _MEMORY + 1.0
        self._request_seconds = self._request_seconds * _MEMORY + beside_s
        if rows:
            self._units = self._units * _MEMORY + self._units_of(rows)
            self._unit_seconds = self._unit_seconds * _MEMORY + network_s

    def rows_s(self, rows: int) -> float:
        """Of so many rows; 0 as long as nothing is known."""
        return self._unit_seconds / self._units * self._units_of(rows) if self._units else 0.0

    @property
    def request_s(self) -> float:
        """Of a request, its rows apart; 0 as long as nothing is known."""
        return self._request_seconds / self._requests if self._requests else 0.0

    def _units_of(self, rows: int) -> int:
        return rows + _ROWS_OF_A_CALL * math.ceil(rows / self._chunk)


def _without_stall(seconds: float, expected_s: float) -> float:
    """A process that was kept waiting once does not cost more from then on; one that is always, soon will."""
    return min(seconds, _STALL * expected_s) if expected_s else seconds


class Ticket:
    """A request that was let in.

    Attributes:
        rows_left: rows that it has not scored yet.
        rows_done: those that it has.
        network_s: seconds that these took.
    """

    def __init__(self, rows: int, cost: Cost) -> None:
        self.rows_left = rows
        self.rows_done = 0
        self.network_s = 0.0
        self._cost = cost

    def scored(self, rows: int, seconds: float) -> None:
        """A chunk is done."""
        self.rows_left -= rows
        self.rows_done += rows
        self.network_s += seconds

    def expected_s(self, rows: int) -> float:
        """Seconds until the answer if `rows` more are scored at once."""
        return self._cost.rows_s(rows) + self._cost.request_s


class Admission:
    """Counts what is inside and refuses what would wait too long.

    Args:
        threads: that compute at the same time.
        max_queue: most requests inside beyond those.
        max_wait_s: longest wait of a request that sets no time of its own.
        chunk: rows of one network call.
        on_shed: told why a request was refused.
    """

    def __init__(
        self,
        threads: int,
        max_queue: int,
        max_wait_s: float,
        chunk: int,
        on_shed: Callable[[Shed], None] | None = None,
    ) -> None:
        self.cost = Cost(chunk)
        self._threads = threads
        self._most = threads + max_queue
        self._max_wait_s = max_wait_s
        self._chunk = chunk
        self._on_shed = on_shed
        self._inside: set[Ticket] = set()

    @property
    def inside(self) -> int:
        """Requests let in and not answered yet."""
        return len(self._inside)

    @property
    def wait_s(self) -> float:
        """Seconds that a request would wait for a thread now."""
        if len(self._inside) < self._threads:
            return 0.0
        return sum(ticket.expected_s(ticket.rows_left) for ticket in self._inside) / self._threads

    @contextmanager
    def admit(self, rows: int, left_s: float | None) -> Iterator[Ticket]:
        """Let a request in for as long as it takes.

        Args:
            rows: candidates to score.
            left_s: seconds in which its caller wants the answer, None for one who did not say.

        Raises:
            OverloadedError: it would wait too long, or too many wait already.
        """
        wait_s = self.wait_s
        if len(self._inside) >= self._most:
            raise self._refusal("queue_full", wait_s, f"{len(self._inside)} requests are being answered")
        if wait_s > _SHORT_S:
            first_chunk_s = self.cost.rows_s(min(rows, self._chunk)) + self.cost.request_s
            if wait_s > self._max_wait_s or (
                left_s is not None and wait_s + first_chunk_s > left_s * _MARGIN
            ):
                raise self._refusal("wait_too_long", wait_s, f"the wait would be about {wait_s * 1e3:.0f} ms")
        ticket = Ticket(rows, self.cost)
        self._inside.add(ticket)
        try:
            yield ticket
        finally:
            self._inside.discard(ticket)

    def _refusal(self, shed: Shed, wait_s: float, why: str) -> OverloadedError:
        if self._on_shed is not None:
            self._on_shed(shed)
        return OverloadedError(f"too much to do: {why}; try again later", max(1, math.ceil(wait_s)))
