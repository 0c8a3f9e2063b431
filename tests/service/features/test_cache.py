"""The item cache: bounded in number and in age."""

from __future__ import annotations

import numpy as np
import pytest

from service.features.cache import ItemCache

NUMBERED = np.dtype([("number", "<i8")])


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def remember(cache: ItemCache, rows: dict[str, int | None]) -> None:
    """A number for each item, None for one that the store lacks."""
    present = [number for number in rows.values() if number is not None]
    places = np.full(len(rows), -1)
    places[[number is not None for number in rows.values()]] = np.arange(len(present))
    cache.remember(list(rows), np.array(present, np.int64).view(NUMBERED), places)


def find(cache: ItemCache, ids: list[str]) -> dict[str, int | None]:
    found = cache.find(ids)
    if found is None:
        return {}
    known = [item for item, known in zip(ids, found.known, strict=True) if known]
    numbers = zip(found.records["number"].tolist(), found.present.tolist(), strict=True)
    return dict(
        zip(known, (number if present else None for number, present in numbers), strict=True),
    )


def test_what_was_remembered_is_found_and_nothing_else():
    cache = ItemCache(10, 60.0)
    remember(cache, {"v1": 1, "v2": None})
    assert find(cache, ["v2", "v3", "v1"]) == {"v2": None, "v1": 1}


def test_the_one_remembered_longest_ago_goes_first():
    cache = ItemCache(2, 60.0)
    remember(cache, {"v1": 1, "v2": 2})
    remember(cache, {"v3": 3})
    assert find(cache, ["v1", "v2", "v3"]) == {"v2": 2, "v3": 3}
    remember(cache, {"v2": 4})
    assert find(cache, ["v1", "v2", "v3"]) == {"v2": 4, "v3": 3}
    assert len(cache) == 2


@pytest.mark.parametrize("capacity", [1, 3, 7])
def test_round_and_round_every_item_is_itself_and_no_more_are_held_than_allowed(capacity):
    cache, random = ItemCache(capacity, 60.0), np.random.default_rng(5)
    lately: dict[str, int] = {}
    for _ in range(100):
        names = [f"v{number}" for number in random.choice(12, random.integers(1, 6), replace=False)]
        rows = {name: int(random.integers(1 << 40)) for name in names}
        remember(cache, rows)
        lately |= rows
        found = find(cache, list(lately))
        assert 0 < len(found) <= len(cache) <= capacity
        assert found.items() <= lately.items()


def test_a_record_is_forgotten_after_its_time_and_an_absence_sooner():
    clock = Clock()
    cache = ItemCache(10, 60.0, clock)
    remember(cache, {"v1": 1, "v2": None})
    clock.now = 4.9
    assert find(cache, ["v1", "v2"]) == {"v1": 1, "v2": None}
    clock.now = 5.1
    assert find(cache, ["v1", "v2"]) == {"v1": 1}
    clock.now = 60.1
    assert find(cache, ["v1", "v2"]) == {}


def test_what_is_remembered_anew_is_what_counts():
    cache = ItemCache(10, 60.0)
    remember(cache, {"v1": None})
    remember(cache, {"v1": 1})
    assert find(cache, ["v1"]) == {"v1": 1}


def test_what_was_found_stays_as_it_was_whatever_is_remembered_later():
    cache = ItemCache(1, 60.0)
    remember(cache, {"v1": 1})
    found = cache.find(["v1"])
    remember(cache, {"v2": 2})
    assert found is not None
    assert found.records["number"].tolist() == [1]


def test_a_capacity_of_0_remembers_nothing():
    cache = ItemCache(0, 60.0)
    remember(cache, {"v1": 1})
    assert (len(cache), find(cache, ["v1"])) == (0, {})


def test_clearing_forgets_everything():
    cache = ItemCache(10, 60.0)
    remember(cache, {"v1": 1})
    cache.clear()
    assert find(cache, ["v1"]) == {}
    remember(cache, {"v2": 2})
    assert find(cache, ["v1", "v2"]) == {"v2": 2}
