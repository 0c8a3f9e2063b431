"""The item cache: bounded in number and in age."""

from __future__ import annotations

from service.features.cache import ItemCache


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_was_remembered_is_found_and_nothing_else():
    cache = ItemCache(10, 60.0)
    cache.remember({"v1": b"row", "v2": None})
    assert cache.find(["v2", "v3", "v1"]) == {"v2": None, "v1": b"row"}


def test_the_least_recently_used_goes_first():
    cache = ItemCache(2, 60.0)
    cache.remember({"v1": b"1", "v2": b"2"})
    cache.find(["v1"])
    cache.remember({"v3": b"3"})
    assert set(cache.find(["v1", "v2", "v3"])) == {"v1", "v3"}
    assert len(cache) == 2


def test_a_record_is_forgotten_after_its_time_and_an_absence_sooner():
    clock = Clock()
    cache = ItemCache(10, 60.0, clock)
    cache.remember({"v1": b"1", "v2": None})
    clock.now = 4.9
    assert cache.find(["v1", "v2"]) == {"v1": b"1", "v2": None}
    clock.now = 5.1
    assert cache.find(["v1", "v2"]) == {"v1": b"1"}
    clock.now = 60.1
    assert cache.find(["v1", "v2"]) == {}


def test_what_is_remembered_anew_is_what_counts():
    cache = ItemCache(10, 60.0)
    cache.remember({"v1": None})
    cache.remember({"v1": b"1"})
    assert cache.find(["v1"]) == {"v1": b"1"}


def test_a_capacity_of_0_remembers_nothing():
    cache = ItemCache(0, 60.0)
    cache.remember({"v1": b"1"})
    assert (len(cache), cache.find(["v1"])) == (0, {})


def test_clearing_forgets_everything():
    cache = ItemCache(10, 60.0)
    cache.remember({"v1": b"1"})
    cache.clear()
    assert cache.find(["v1"]) == {}
