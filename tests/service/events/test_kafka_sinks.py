"""Sinks of Kafka: what is acknowledged is in the topics; brokers that are away cost a clear error."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from model.events import EventCatalogue, EventFolder, Feedback, FeedbackKind, Origin, Shown
from model.events.kafka import KafkaUrl
from service.contract.errors import FeedbackUnavailableError
from service.events import kafka_exposures
from service.events.kafka_exposures import KafkaExposures
from service.events.kafka_feedback import KafkaFeedback
from tests.model.events.test_wire import EXPOSURE
from tests.support.kafka_broker import running_kafka
from training.events.landing import land

pytestmark = pytest.mark.slow

CATALOGUE = EventCatalogue(kinds=(FeedbackKind(kind="is_share"),))
VERSION = f"sha256:{'1' * 64}"
ORIGIN = Origin(("vtr",), CATALOGUE, VERSION, lambda: b'{"scenes": {}}')
EVENTS = [Feedback(f"e{n}", "x", "v3", "is_share", 1.0, EXPOSURE.time_ms, EXPOSURE.time_ms) for n in range(5)]


class Counts(SimpleNamespace):
    """Counts what a sink reports."""

    def __init__(self) -> None:
        super().__init__(events=0, reasons=[])

    def committed(self, events: int, new: int, seconds: float) -> None:
        self.events += events

    def rejected(self, events: int) -> None:
        raise AssertionError("a sink judges nothing")

    def refused(self, reason: str) -> None:
        self.reasons.append(reason)


@pytest.fixture(scope="module")
def broker() -> Iterator[str]:
    with running_kafka() as host:
        yield host


def test_what_is_written_lands_with_all_that_describes_it(broker: str, tmp_path: Path) -> None:
    url, counts = KafkaUrl(f"kafka://{broker}/whole"), Counts()
    sink = KafkaExposures(url)
    for _ in range(2):  # twice: as after a failure, of which nobody knows whether it was one
        assert sink.write([sink.prepare(Shown(EXPOSURE, ORIGIN))] * 3) > 0
    sink.rest()
    sink.close()

    async def send() -> None:
        feedback = KafkaFeedback(url, counts)
        await feedback.write([])
        await asyncio.gather(feedback.write(EVENTS[:3]), feedback.write(EVENTS[2:]))
        assert feedback.state == "written"
        await asyncio.to_thread(feedback.stop)

    asyncio.run(send())
    folder = EventFolder(tmp_path)
    landed = land(url, folder)
    assert (landed.exposures, landed.feedback, landed.refused) == (6, 5, 0)
    assert (counts.events, counts.reasons) == (6, [])
    written = folder.read_catalogue()
    assert (written.tasks, written.events) == (("vtr",), CATALOGUE)
    assert folder.config(VERSION).read_bytes() == b'{"scenes": {}}'


def test_exposures_do_not_count_as_written_while_the_brokers_are_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(kafka_exposures, "_DELIVERY_S", 3.0)
    with running_kafka() as host:
        sink = KafkaExposures(KafkaUrl(f"kafka://{host}/away"))
        message = sink.prepare(Shown(EXPOSURE, ORIGIN))
        sink.write([message])
    began = time.monotonic()
    with pytest.raises(OSError, match="messages were not acknowledged"):
        sink.write([message] * 2)
    assert time.monotonic() - began < 30.0


def test_feedback_is_refused_while_the_brokers_are_away() -> None:
    counts = Counts()

    async def send() -> str:
        with running_kafka() as host:
            feedback = KafkaFeedback(KafkaUrl(f"kafka://{host}/away"), counts, patience_s=3.0)
            await feedback.write(EVENTS)
        with pytest.raises(FeedbackUnavailableError, match="send it again later"):
            await feedback.write(EVENTS)
        state = feedback.state
        await asyncio.to_thread(feedback.stop)
        return state

    state = asyncio.run(send())
    assert state.startswith("failing: ")
    assert counts.events == len(EVENTS)
    assert counts.reasons[0] in {"sink_away", "too_late"}
