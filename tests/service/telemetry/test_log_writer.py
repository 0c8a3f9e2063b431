"""The log writer: lines come whole and in order, floods are cut, and nobody waits for a reader."""

from __future__ import annotations

import json
import logging
import os
import threading
from contextlib import suppress

import pytest
import structlog

from service.telemetry import log_writer
from service.telemetry.log_writer import LogWriter


class Log:
    """A logger that writes into a pipe of which the test is the reader."""

    def __init__(self) -> None:
        self.reader, self.descriptor = os.pipe()
        self.left_out = 0
        self.writer = LogWriter(self.descriptor)
        self.writer.on_left_out = self._count
        self.logger = logging.getLogger("a log of its own")
        self.logger.propagate = False
        self.logger.handlers[:] = [self.writer]

    def _count(self) -> None:
        self.left_out += 1

    def lines(self) -> list[str]:
        """All that was written since the last call."""
        found = b""
        flush = threading.Thread(target=self.writer.flush)
        flush.start()
        os.set_blocking(self.reader, False)
        while True:
            flushed = not flush.is_alive()
            with suppress(BlockingIOError):
                while part := os.read(self.reader, 1 << 20):
                    found += part
            if flushed:
                return found.decode().splitlines()
            flush.join(0.001)


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(log_writer.time, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def log():
    return Log()


def test_lines_come_in_order(log):
    for place in range(10):
        log.logger.warning("line %d", place)
    assert log.lines() == [f"line {place}" for place in range(10)]


def test_a_flood_from_one_line_of_code_is_cut_and_counted_and_others_are_heard(log, clock):
    for place in range(500):
        log.logger.warning("flood %d", place)
    log.logger.warning("another")
    clock[0] += 1.0
    log.logger.warning("later")
    assert log.lines() == [
        *(f"flood {place}" for place in range(20)),
        "another",
        "480 log lines were left out: too many of a kind in a second, or nobody reads them",
        "later",
    ]
    assert log.left_out == 480


def test_nobody_waits_for_a_reader_that_does_not_read(log, clock, monkeypatch):
    monkeypatch.setattr(log_writer, "_FLUSH_S", 0.01)
    number = 200
    for place in range(number):
        clock[0] += 1.0
        log.logger.warning("%d %s", place, "x" * 16_384)
    log.writer.flush()
    left_out = log.left_out
    assert 0 < left_out < number
    monkeypatch.setattr(log_writer, "_FLUSH_S", 60)
    written = [int(line.removesuffix(" " + "x" * 16_384)) for line in log.lines()]
    clock[0] += 1.0
    log.logger.warning("read again")
    assert len(written) == number - left_out
    assert written == sorted(written)
    assert log.lines() == [
        f"{left_out} log lines were left out: too many of a kind in a second, or nobody reads them",
        "read again",
    ]


def test_a_reader_that_is_gone_is_no_fault(log):
    os.close(log.reader)
    log.logger.warning("to nobody")
    log.logger.warning("to nobody")
    log.writer.flush()


def test_an_event_of_ours_is_told_from_others_by_where_it_is_logged(log, clock, capfd):
    from service.telemetry.logs import configure_logs

    writer = configure_logs("json")
    try:
        ours = structlog.get_logger("ours")
        for _ in range(25):
            ours.warning("often")
        ours.warning("once")
        writer.flush()
    finally:
        logging.getLogger().removeHandler(writer)
        structlog.reset_defaults()
    events = [json.loads(line)["event"] for line in capfd.readouterr().err.splitlines()]
    assert events == ["often"] * 20 + ["once"]


@pytest.mark.slow
def test_a_forked_process_writes_what_is_its_own_and_only_that(log):
    log.logger.warning("parent")
    log.writer.flush()
    pid = os.fork()
    if not pid:
        log.logger.warning("child")
        log.writer.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    assert log.lines() == ["parent", "child"]
