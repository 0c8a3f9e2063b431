"""Sender: events to `/v1/feedback`, in batches, until they are taken or nobody takes them. Knows no viewers.

It sends one batch at a time. Its memory is bounded, whatever it is given and however long the service is
away: where callers keep to a rate, what finds no room is not sent, and counted; else they wait.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from model.client import refusal, shown_address
from model.errors import FulcrumError
from model.events.feedback import MAX_EVENTS
from training.viewers.feedback import Event, Mishaps

_ROOM = 50_000
"""Events that wait, at most; as many may be late."""
_SOON_S = 0.2
"""Seconds that a batch waits for more where it is not full."""
_PATIENCE_S = 30.0
"""Seconds for which a batch is tried."""
_PAUSE_S = 1.0


@dataclass
class Sent:
    """What became of events; one that is sent twice counts twice.

    Attributes:
        accepted, rejected: by the service.
        first_rejection: why.
        unsent: that nobody took in time.
        first_failure: why not.
    """

    accepted: int = 0
    rejected: int = 0
    first_rejection: str | None = None
    unsent: int = 0
    first_failure: str | None = None


class Sender:
    """Sends events.

    Args:
        client: to the service.
        mishaps: what befalls events; `shuffle` is done here.
        waits: whether `take` waits for room.
    """

    def __init__(self, client: httpx.AsyncClient, mishaps: Mishaps, *, waits: bool) -> None:
        self.sent = Sent()
        self._client, self._shuffle, self._waits = client, mishaps.shuffle, waits
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue(_ROOM)
        self._late: deque[Event] = deque()
        self._shuffled: list[Event] = []
        self._random = random.Random(0)

    async def take(self, event: Event, late: bool = False) -> None:
        """An event to be sent, at the end if it is late."""
        if late:
            self._late.append(event)
            if len(self._late) <= _ROOM:
                return
            event = self._late.popleft()
        if self._waits:
            await self._queue.put(event)
        elif self._queue.full():
            self.sent.unsent += 1
            self.sent.first_failure = self.sent.first_failure or "no room for more events"
        else:
            self._queue.put_nowait(event)

    async def finish(self) -> None:
        """No more will come."""
        while self._late:
            await self._queue.put(self._late.popleft())
        await self._queue.put(None)

    async def run(self) -> None:
        """Send until `finish`.

        Raises:
            FulcrumError: the service takes no feedback.
        """
        more = True
        while more:
            batch = [await self._queue.get()]
            if self._queue.qsize() < MAX_EVENTS:
                await asyncio.sleep(_SOON_S)
            while len(batch) < MAX_EVENTS and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            more = None not in batch
            events = self._any_order([event for event in batch if event is not None], more)
            for start in range(0, len(events), MAX_EVENTS):
                await self._send(events[start : start + MAX_EVENTS])

    def _any_order(self, batch: list[Event], more: bool) -> list[Event]:
        """With `shuffle`: some of all that waits, in any order."""
        if not self._shuffle:
            return batch
        self._shuffled += batch
        self._random.shuffle(self._shuffled)
        keep = min(len(self._shuffled), 2 * MAX_EVENTS) if more else 0
        batch, self._shuffled = self._shuffled[keep:], self._shuffled[:keep]
        return batch

    async def _send(self, batch: list[Event]) -> None:
        content = orjson.dumps({"events": batch})
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                reply = await self._client.post("/v1/feedback", content=content)
            except httpx.HTTPError as error:
                problem = f"{type(error).__name__} {error}".strip()
            else:
                if reply.status_code == httpx.codes.ACCEPTED:
                    self._count(orjson.loads(reply.content))
                    return
                problem = refusal(reply)
                if reply.status_code == httpx.codes.NOT_FOUND:
                    raise FulcrumError(
                        f"{shown_address(reply.url)}: {problem} (--no-feedback asks without sending any)"
                    )
                if reply.status_code < httpx.codes.INTERNAL_SERVER_ERROR and reply.status_code not in _AGAIN:
                    deadline = 0.0
            if time.monotonic() + _PAUSE_S > deadline:
                self.sent.unsent += len(batch)
                self.sent.first_failure = self.sent.first_failure or problem
                return
            await asyncio.sleep(_PAUSE_S)

    def _count(self, answer: Any) -> None:
        rejected = answer["rejected"]
        self.sent.accepted += answer["accepted"]
        self.sent.rejected += len(rejected)
        if rejected and self.sent.first_rejection is None:
            self.sent.first_rejection = rejected[0]["reason"]


_AGAIN = (httpx.codes.TOO_MANY_REQUESTS, httpx.codes.REQUEST_TIMEOUT)
