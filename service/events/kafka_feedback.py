"""Feedback to Kafka: events that the brokers have acknowledged. Knows no HTTP, judges nothing."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Sequence
from typing import Any

from model.events.feedback import Feedback
from model.events.kafka import HEADERS, KafkaUrl
from model.events.wire import feedback_message
from service.contract.errors import FeedbackUnavailableError
from service.events.feedback_store import FeedbackReport

_PATIENCE_S = 5.0
"""Seconds that a request waits for the brokers."""

_POLL_S = 0.1


class KafkaFeedback:
    """Writes events to a topic. To be made after the process was forked.

    Args:
        url: of brokers and topics.
        report: called with what is written and refused.
        patience_s: seconds that a request waits.

    Raises:
        FulcrumError: the package is not there, or it refuses the URL's properties.
    """

    def __init__(self, url: KafkaUrl, report: FeedbackReport, patience_s: float = _PATIENCE_S) -> None:
        self._topic = url.topic("feedback")
        self._report = report
        self._patience_s = patience_s
        self._failure: str | None = None
        self._stopping = threading.Event()
        self._producer = url.producer(self._on_error, delivery_timeout_ms=int(patience_s * 1000))
        self._poller = threading.Thread(target=self._poll, name="feedback", daemon=True)
        self._poller.start()

    @property
    def state(self) -> str:
        """`written`, or `failing: ...` and why."""
        return "written" if self._failure is None else f"failing: {self._failure}"

    async def write(self, events: Sequence[Feedback]) -> None:
        """Return once the brokers have acknowledged the events.

        Raises:
            FeedbackUnavailableError: they have not, or it is not known whether they have.
        """
        if not events:
            return
        began = time.perf_counter()
        delivery = _Delivery(len(events))
        for event in events:
            try:
                self._producer.produce(
                    self._topic,
                    feedback_message(event),
                    key=event.exposure_id.encode("utf-8", "surrogatepass"),
                    headers=HEADERS,
                    on_delivery=delivery.delivered,
                )
            except BufferError:
                self._report.refused("queue_full")
                raise _later("too many events wait for the brokers already") from None
        try:
            async with asyncio.timeout(self._patience_s + 1.0):
                failure = await delivery.outcome
        except TimeoutError:
            self._report.refused("too_late")
            raise _later(f"the brokers took more than {self._patience_s:g} s") from None
        if failure is not None:
            self._failure = failure
            self._report.refused("sink_away")
            raise _later(f"the brokers have not acknowledged it ({failure})")
        self._failure = None
        self._report.committed(len(events), len(events), time.perf_counter() - began)

    def stop(self) -> None:
        """Send what waits, for as long as a request may wait at most."""
        self._producer.flush(self._patience_s)
        self._stopping.set()
        self._poller.join(self._patience_s)

    def _poll(self) -> None:
        while not self._stopping.is_set():
            self._producer.poll(_POLL_S)

    def _on_error(self, name: str) -> None:
        if name == "_ALL_BROKERS_DOWN":
            self._failure = name


class _Delivery:
    """Whether all events of one request are acknowledged: None, or what went wrong with one."""

    def __init__(self, events: int) -> None:
        self._left = events
        self._failure: str | None = None
        self._loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[str | None] = self._loop.create_future()

    def delivered(self, error: Any, _: object) -> None:
        """Called by the polling thread, once for each event."""
        self._left -= 1
        if error is not None and self._failure is None:
            self._failure = error.name()
        if not self._left:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._settle)

    def _settle(self) -> None:
        if not self.outcome.done():  # else nobody waits any more
            self.outcome.set_result(self._failure)


def _later(why: str) -> FeedbackUnavailableError:
    return FeedbackUnavailableError(
        f"{why}; send it again later: events that were written all the same are not counted twice", 1
    )
