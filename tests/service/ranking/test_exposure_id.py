"""Exposure ids."""

from __future__ import annotations

import time
import uuid

from service.ranking.exposure_id import new_exposure_id


def test_an_id_is_a_version_7_uuid_of_this_moment():
    found = uuid.UUID(new_exposure_id())
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert abs((found.int >> 80) / 1000 - time.time()) < 600


def test_ids_differ():
    assert len({new_exposure_id() for _ in range(10_000)}) == 10_000
