"""The writer: nothing waits for it, what does not fit is counted, a sink that is back gets what waited."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from service.events.writer import Bounds, ExposureWriter
from tests.support.exposures import origin, shown
from tests.support.service_process import wait_until

MADE_WITH = origin()
QUICK = Bounds(interval_s=0.01)


class Sink:
    """Keeps what it is given; fails as told."""

    def __init__(self) -> None:
        self.batches = []
        self.error = None
        self.closed = False
        self.rests = 0
        self.free = threading.Event()
        self.free.set()

    def prepare(self, record):
        if record.exposure.exposure_id == "x13":
            raise ValueError("unlucky")
        return record.exposure.exposure_id

    def write(self, batch):
        self.free.wait(30)
        if self.error is not None:
            raise self.error
        self.batches.append(list(batch))
        return 10 * len(batch)

    def rest(self):
        self.rests += 1

    def close(self):
        self.closed = True

    @property
    def names(self):
        return [name for batch in self.batches for name in batch]


class Report:
    """Counts."""

    def __init__(self) -> None:
        self.counts = Counter()
        self.fails = False
        self.left = 0

    def written(self, exposures, size, waited_s):
        self.counts["written"] += exposures
        self.counts["bytes"] += size

    def dropped(self, reason, exposures):
        self.counts[reason] += exposures

    def waiting(self, exposures):
        self.left = exposures

    def failing(self, fails):
        self.fails = fails


@pytest.fixture
def sink():
    return Sink()


@pytest.fixture
def report():
    return Report()


@pytest.fixture
def start(sink, report):
    """`start(bounds)`: a writer at work."""
    running = []

    def begin(bounds=QUICK):
        running.append(ExposureWriter(sink, bounds, report))
        running[-1].start()
        return running[-1]

    yield begin
    sink.free.set()
    for writer in running:
        writer.stop()


def offer(writer, *numbers):
    for number in numbers:
        writer.offer(shown(number, 0, MADE_WITH))


def test_what_is_offered_is_written_in_its_order_and_counted(start, sink, report):
    writer = start()
    offer(writer, *range(10))
    wait_until(lambda: len(sink.names) == 10)
    writer.stop()
    assert sink.names == [f"x{number}" for number in range(10)]
    assert report.counts == {"written": 10, "bytes": 100}
    assert (writer.state, report.fails, report.left, sink.closed) == ("written", False, 0, True)


def test_an_interval_is_one_write_and_stopping_writes_what_is_left(start, sink):
    writer = start(Bounds(interval_s=600))
    offer(writer, *range(5))
    wait_until(lambda: writer._coming.empty())
    assert sink.batches == []
    writer.stop()
    assert sink.batches == [[f"x{number}" for number in range(5)]]


@pytest.mark.parametrize("bounds", [Bounds(600, exposures=40), Bounds(600, size=40 * 2_500)])
def test_many_or_large_ones_do_not_wait_for_the_interval(start, sink, bounds):
    offer(start(bounds), *range(12))
    wait_until(lambda: len(sink.names) >= 10)


def test_nobody_waits_for_a_sink_that_hangs_and_what_does_not_fit_is_dropped(start, sink, report):
    sink.free.clear()
    writer = start(Bounds(interval_s=0.01, exposures=20))
    offer(writer, *range(12))
    offer(writer, *range(20, 120))
    assert report.counts["queue_full"] == 92
    sink.free.set()
    wait_until(lambda: len(sink.names) == 20)
    offer(writer, 200)
    wait_until(lambda: "x200" in sink.names)


def test_bytes_are_bounded_too(start, sink, report):
    sink.free.clear()
    writer = start(Bounds(interval_s=0.01, size=100_000))
    for number in range(4):
        writer.offer(shown(number, 0, MADE_WITH, candidates=500))
    assert report.counts["queue_full"] == 2


def test_while_the_sink_is_away_all_wait_for_it_and_the_rest_is_dropped_and_counted(start, sink, report):
    sink.error = OSError(28, "No space left on device", "/events")
    writer = start(Bounds(interval_s=0.01, exposures=20))
    offer(writer, *range(12))
    wait_until(lambda: writer.state == "failing: No space left on device (/events)")
    wait_until(lambda: report.fails)
    offer(writer, *range(20, 40))
    assert report.counts == {"sink_away": 12}
    sink.error = None
    wait_until(lambda: writer.state == "written")
    assert sink.names == [f"x{number}" for number in (*range(12), *range(20, 28))]
    assert not report.fails


def test_what_is_left_when_the_service_ends_is_counted_as_lost(start, sink, report):
    sink.error = OSError(28, "No space left on device")
    writer = start()
    offer(writer, 1, 2)
    wait_until(lambda: report.fails)
    writer.stop()
    assert (report.counts, sink.closed) == ({"sink_away": 2}, True)


def test_what_no_sink_can_write_takes_no_other_with_it(start, sink, report):
    writer = start()
    offer(writer, 12, 13, 14)
    wait_until(lambda: len(sink.names) == 2)
    sink.error = ValueError("a batch of rubbish")
    offer(writer, 15)
    wait_until(lambda: report.counts["unwritable"] == 2)
    sink.error = None
    offer(writer, 16)
    wait_until(lambda: "x16" in sink.names)
    assert sink.names == ["x12", "x14", "x16"]
    assert writer._count == writer._size == 0


def test_a_sink_that_hangs_keeps_no_service_from_its_end(start, sink, monkeypatch):
    monkeypatch.setattr("service.events.writer._CLOSE_S", 0.05)
    sink.free.clear()
    writer = start()
    offer(writer, 1)
    time.sleep(0.05)
    writer.stop()
    assert sink.names == []


def test_an_idle_sink_does_what_is_due(start, sink, monkeypatch):
    monkeypatch.setattr("service.events.writer._REST_S", 0.01)
    start()
    wait_until(lambda: sink.rests > 2)
