"""What planning takes from a past period, where the truth is known."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from model.errors import FulcrumError
from training.experiments import design_effect, plan
from training.experiments.measuring import measure, measure_log
from training.experiments.watching.measures import Measures

DAY_MS = 86_400_000
START_MS = 1_790_000_000_000


def requests(alike: float, users: int = 4_000, each: int = 8, days: float = 14.0, seed: int = 1):
    """Users of so many requests, whose values have in common as much of their variance as is said."""
    random = np.random.default_rng(seed)
    unit = np.repeat(np.arange(users), each)
    own = np.sqrt(alike) * random.normal(size=users)[unit]
    value = 10.0 + 5.0 * (own + np.sqrt(1.0 - alike) * random.normal(size=len(unit)))
    time_ms = START_MS + np.sort(random.integers(0, int(days * DAY_MS), len(unit)))
    return unit, value, random.permutation(time_ms)


def test_independent_requests_have_a_design_effect_of_one():
    found = measure(*requests(0.0), comes_again=False)
    assert found.design.value == pytest.approx(1.0, abs=0.06)
    assert found.design.days is None
    assert found.deviation == pytest.approx(0.5, rel=0.02)
    assert (found.requests, found.units) == (32_000, 4_000)
    assert found.requests_a_day == pytest.approx(32_000 / 14, rel=0.01)


@pytest.mark.parametrize("alike", [0.1, 0.5])
def test_requests_of_a_unit_that_are_alike_count_less(alike):
    unit, value, time_ms = requests(alike)
    found = measure(unit, value, time_ms, comes_again=True)
    assert found.design.value == pytest.approx(1.0 + 7.0 * alike, rel=0.08)  # 1 + (m - 1) rho
    assert found.design.value == pytest.approx(design_effect(unit, value), rel=0.03)
    assert found.design.days == pytest.approx(14.0, rel=0.01)


def test_what_was_known_before_takes_out_what_units_have_in_common():
    rows = requests(0.5, each=16)
    without = measure(*rows, comes_again=True)
    known = measure(*rows, comes_again=True, before_days=7.0)
    assert known.design.value < 0.45 * without.design.value
    assert known.days == pytest.approx(7.0, rel=0.01)
    assert known.requests == pytest.approx(without.requests / 2, rel=0.02)


def test_requests_a_day_are_those_of_the_time_that_a_log_spans():
    found = measure(*requests(0.3, days=0.25), comes_again=True)
    assert found.days == pytest.approx(0.25, rel=0.01)
    assert found.requests_a_day == pytest.approx(4 * 32_000, rel=0.01)
    assert found.design.days == 1.0


def test_a_plan_takes_it_as_it_is():
    found = measure(*requests(0.3), comes_again=False)
    alone = plan(0.02, found.deviation, found.requests_a_day)
    assert plan(0.02, found.deviation, found.requests_a_day, design=found.design).requests == pytest.approx(
        alone.requests * found.design.value
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda unit, value: (unit % 150, value), "the log has 150 units in 32,000 requests that count"),
        (lambda unit, value: (unit, value - 20.0), "the mean of what counts is -10.*expected one above 0"),
        (lambda unit, value: (unit, np.ones_like(value)), "every request of the log is worth the same"),
    ],
)
def test_a_log_that_says_nothing_is_refused(change, says):
    unit, value, time_ms = requests(0.0)
    with pytest.raises(FulcrumError, match=says):
        measure(*change(unit, value), time_ms, comes_again=True)


@pytest.fixture
def log(tmp_path):
    """A joined log: 600 users of four requests with two impressions each, the last quarter not complete."""
    random = np.random.default_rng(3)
    rows = 600 * 4 * 2
    request = np.repeat(np.arange(rows // 2), 2)
    frame = pl.DataFrame(
        {
            "exposure_id": pl.Series(request.astype(str)),
            "user_id": pl.Series((request % 600).astype(str)),
            "position": np.tile([1, 2], rows // 2),
            "scene": pl.Series(np.where(request // 600 % 2 == 1, "search", "feed")),
            "time_ms": START_MS + request * (4 * DAY_MS // (rows // 2)),
            "video_len_s": random.gamma(1.5, 25.0, rows),
            "mature": request < 1_800,
            "is_share": (random.random(rows) < 0.2).astype(np.int8),
        }
    )
    day = tmp_path / "impressions" / "day=2026-09-21"
    day.mkdir(parents=True)
    half = rows // 2
    frame[:half].write_parquet(day / "10.parquet")
    frame[half:].write_parquet(day / "11.parquet")
    return tmp_path


def test_a_log_is_read_as_requests_whose_windows_have_closed(log):
    found = measure_log(log, Measures(None, "is_share"), "user")
    assert (found.requests, found.units) == (1_800, 600)
    assert found.mean == pytest.approx(0.4, rel=0.1)  # two impressions of .2
    assert measure_log(log, Measures(None, "is_share"), "user", open_too=True).requests == 2_400
    assert measure_log(log, Measures(None, "is_share"), "user", scene="search").requests == 600
    assert measure_log(log, Measures(None, "is_share"), "request").units == 1_800


def test_a_folder_that_is_no_joined_log_is_refused(log, tmp_path):
    with pytest.raises(FulcrumError, match=r"holds no impressions/day=\*/\*.parquet; expected what `fulcrum"):
        measure_log(tmp_path / "none", Measures(None, "is_share"), "user")
    with pytest.raises(FulcrumError, match="has no requests that count"):
        measure_log(log, Measures(None, "is_share"), "user", scene="none")
    with pytest.raises(FulcrumError, match="no column 'session_id', which has the sessions"):
        measure_log(log, Measures(None, "is_share"), "session")
