"""The board: memory that processes share, in which a record is whole or the one before it."""

from __future__ import annotations

import os

import pytest

from service.processes.board import Board


@pytest.fixture
def record():
    return Board(2).places[1].report


def test_a_record_is_what_was_written_last(record):
    assert record.read() is None
    for content in (b"one", b"longer than one", b"3"):
        assert record.write(content)
        assert record.read() == content
    record.clear()
    assert record.read() is None


def test_a_record_too_long_for_its_place_leaves_the_one_before(record):
    record.write(b"before")
    assert not record.write(b"x" * (1 << 20))
    assert record.read() == b"before"


def test_a_writer_that_dies_midway_leaves_the_record_before(record):
    record.write(b"before")
    half = record._halves[1 - record._which[0]]
    half[:20] = b"\xff" * 20
    assert record.read() == b"before"


def test_a_fusion_config_of_the_largest_size_has_room():
    place = Board(1).places[0]
    assert place.fusion.write(b"x" * (1 << 20))
    assert place.fusion.read() == b"x" * (1 << 20)


@pytest.mark.slow
def test_what_a_child_process_writes_is_read_by_all():
    board = Board(2)
    child = os.fork()
    if not child:
        board.places[1].report.write(b"from the child")
        board.places[1].beat()
        os._exit(0)
    os.waitpid(child, 0)
    assert board.places[1].report.read() == b"from the child"
    assert board.places[1].beaten_at > 0.0
    assert board.places[0].report.read() is None
