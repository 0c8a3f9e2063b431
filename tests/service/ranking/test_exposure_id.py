"""Exposure ids."""

from __future__ import annotations

import time
import uuid

import pytest

from service.ranking.exposure_id import new_exposure_id


def test_an_id_is_a_version_7_uuid_of_this_moment():
    found = uuid.UUID(new_exposure_id())
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert abs((found.int >> 80) / 1000 - time.time()) < 600


@pytest.mark.parametrize(
    ("random", "expected"),
    [
        (b"\x00" * 10, "018bcfe5-687b-7000-8000-000000000000"),
        (b"\xff" * 10, "018bcfe5-687b-7fff-bfff-ffffffffffff"),
        (bytes(range(10)), "018bcfe5-687b-7001-8203-040506070809"),
    ],
)
def test_an_id_is_milliseconds_then_version_and_variant_among_random_bits(monkeypatch, random, expected):
    monkeypatch.setattr("time.time_ns", lambda: 1_700_000_000_123_999_999)
    monkeypatch.setattr("os.urandom", lambda _: random)
    assert new_exposure_id() == expected


def test_ids_differ():
    assert len({new_exposure_id() for _ in range(10_000)}) == 10_000
