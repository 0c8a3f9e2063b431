"""Logs: one event a line on stderr, ours and the libraries' alike."""

from __future__ import annotations

import json
import logging

import pytest
import structlog

from service.telemetry.logs import REQUEST_ID, configure_logs


@pytest.fixture(autouse=True)
def _as_before():
    root, uvicorn = logging.getLogger(), logging.getLogger("uvicorn")
    handlers, levels = root.handlers[:], (root.level, uvicorn.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    uvicorn.setLevel(levels[1])
    structlog.reset_defaults()


def lines(capfd) -> list[dict]:
    logging.getLogger().handlers[0].flush()
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_our_events_and_a_librarys_are_json_of_the_same_keys(capfd):
    configure_logs("json")
    structlog.get_logger("ours").warning("store_away", url="redis://x")
    logging.getLogger("theirs").warning("gone %s", "away")
    ours, theirs = lines(capfd)
    assert ours.pop("timestamp").endswith("Z")
    assert theirs.pop("timestamp").endswith("Z")
    assert ours == {"event": "store_away", "level": "warning", "logger": "ours", "url": "redis://x"}
    assert theirs == {"event": "gone away", "level": "warning", "logger": "theirs"}


def test_a_line_names_the_request_that_is_being_answered(capfd):
    configure_logs("json")
    log = structlog.get_logger("ours")
    token = REQUEST_ID.set("r-1")
    log.info("inside")
    logging.getLogger("theirs").info("inside")
    REQUEST_ID.reset(token)
    log.info("outside")
    assert [line.get("request_id") for line in lines(capfd)] == ["r-1", "r-1", None]


def test_an_exception_is_part_of_its_line(capfd):
    configure_logs("json")
    try:
        raise ValueError("out of range")
    except ValueError:
        structlog.get_logger("ours").exception("failed")
    (line,) = lines(capfd)
    assert line["event"] == "failed"
    assert "ValueError: out of range" in line["exception"]


def test_debugging_and_uvicorns_own_start_are_left_out(capfd):
    configure_logs("json")
    structlog.get_logger("ours").debug("detail")
    logging.getLogger("uvicorn").info("Started server process")
    logging.getLogger("uvicorn").warning("a warning")
    assert [line["event"] for line in lines(capfd)] == ["a warning"]


def test_for_people_a_line_is_text_without_colours_where_nobody_watches(capfd):
    configure_logs("console")
    structlog.get_logger("ours").warning("store_away", url="redis://x")
    logging.getLogger().handlers[0].flush()
    text = capfd.readouterr().err
    assert "store_away" in text
    assert "url=redis://x" in text
    assert "\x1b" not in text
