"""Feedback: from a request's body to events on the disk, and the answer. Knows no HTTP and no database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from model.events import EventCatalogue, Feedback, FeedbackJudge
from service.contract.errors import FeedbackUnavailableError
from service.contract.feedback import events_of
from service.contract.strict_json import read_json
from service.events.feedback_store import FeedbackReport, FeedbackSink

_SMALL_BYTES = 8 * 1024
"""Bodies that are read on the event loop: some 40 events, a quarter of a millisecond."""

_MOST_READ = 64
"""Larger ones that wait to be read at most."""


@dataclass(frozen=True)
class Judged:
    """The events of a request.

    Attributes:
        taken: those that are kept.
        rejected: the others, by index, with the reason.
    """

    taken: list[Feedback]
    rejected: dict[int, str]


class FeedbackIntake:
    """Takes feedback. Reads in a thread of its own: rankings never wait behind it.

    Args:
        store: keeps it.
        report: called with what is rejected and refused.
        clock: milliseconds since 1970.
    """

    def __init__(
        self,
        store: FeedbackSink,
        report: FeedbackReport,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.store = store
        self._report = report
        self._clock = clock
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="feedback-read")
        self._reading = 0

    async def take(self, body: bytes, catalogue: EventCatalogue) -> dict[str, Any]:
        """The answer to a request, once all that it says was taken is on the disk.

        Raises:
            InvalidRequestError: the body breaks the contract.
            FeedbackUnavailableError: there is too much to read, or it cannot be kept.
        """
        judged = await self._judged(body, catalogue)
        await self.store.write(judged.taken)
        self._report.late(event.received_ms - event.time_ms for event in judged.taken)
        if judged.rejected:
            self._report.rejected(len(judged.rejected))
        rejected = [{"index": index, "reason": reason} for index, reason in judged.rejected.items()]
        return {"accepted": len(judged.taken), "rejected": rejected}

    def stop(self) -> None:
        """End the threads, all that was taken written."""
        self._reader.shutdown()
        self.store.stop()

    async def _judged(self, body: bytes, catalogue: EventCatalogue) -> Judged:
        if len(body) <= _SMALL_BYTES:
            return self._judge(body, catalogue)
        if self._reading >= _MOST_READ:
            self._report.refused("queue_full")
            raise FeedbackUnavailableError(f"{self._reading} requests wait to be read; try again later", 1)
        self._reading += 1
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._reader, self._judge, body, catalogue)
        finally:
            self._reading -= 1

    def _judge(self, body: bytes, catalogue: EventCatalogue) -> Judged:
        judge = FeedbackJudge(catalogue, self._clock)
        taken, rejected = [], {}
        for index, event in enumerate(events_of(read_json(body))):
            found = judge.judge(event)
            if isinstance(found, str):
                rejected[index] = found
            else:
                taken.append(found)
        return Judged(taken, rejected)
