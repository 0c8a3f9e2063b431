"""The moment that parts a log by share: the same as after sorting all of it."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from model.errors import FulcrumError
from training.preparation.splits import time_of_share

RANDOM = np.random.default_rng(5)


def sorted_away(times, share):
    return times.sort()[min(round(len(times) * share), len(times) - 1)]


def found(times, share, chunks=7):
    size = -(-len(times) // chunks)
    return time_of_share(lambda: (times[start : start + size] for start in range(0, len(times), size)), share)


@pytest.mark.parametrize(
    "times",
    [
        pl.Series("t", RANDOM.integers(-(2**62), 2**62, 5000)),
        pl.Series("t", 1_650_816_000_000 + RANDOM.integers(0, 864_000_000, 5000)),
        pl.Series("t", RANDOM.integers(0, 3, 5000)),
        pl.Series("t", RANDOM.normal(size=5000) * 10.0 ** RANDOM.integers(-20, 20, 5000)),
        pl.Series("t", RANDOM.normal(size=5000).astype(np.float32)),
        pl.Series("t", [date(2026, 1, 1 + day % 28) for day in range(100)]),
        pl.Series("t", [datetime(2026, 1, 1, hour, 7) for hour in range(24)]).cast(pl.Datetime("ns")),
        pl.Series("t", [5]),
    ],
    ids=["wide", "ms", "few", "floats", "float32", "dates", "timestamps", "one"],
)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 1.0])
def test_it_is_the_time_that_sorting_would_find(times, share):
    cut = found(times, share)
    assert cut.dtype == times.dtype
    assert cut[0] == sorted_away(times, share)


def test_text_is_refused_with_a_way_out():
    with pytest.raises(FulcrumError, match=r"data\.split\.last: 't' holds String, of which a streamed log"):
        found(pl.Series("t", ["2026-01-01"]), 0.5)
