"""Splits: rows to train and to validate on; and the moment that parts a streamed log by share."""

from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from model.errors import FulcrumError
from model.schema import Schema
from tests.support.small_log import LOG, prepared
from training.datasets.source import LogSource
from training.preparation.preparation import prepare_log
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


@pytest.mark.parametrize(
    ("train", "validation", "match"),
    [
        ("time <= 30", "time >= 30", "data.split: 1 rows are in training and in validation"),
        ("time < 0", "time > 0", "data.split.train: no row of 4 is in it"),
        ("time > 0", "time > 100", "data.split.validation: no row of 4 is in it"),
    ],
)
def test_a_split_that_overlaps_or_is_empty_is_refused(train, validation, match):
    with pytest.raises(FulcrumError, match=match):
        prepared(LOG.with_columns(score=0.5), split={"train": train, "validation": validation})


def test_rows_of_neither_split_and_of_unknown_rules_are_left_out():
    log = LOG.with_columns(score=0.5, day=pl.Series([2, 1, None, 3]))
    found = prepared(log, split={"train": "day = 1", "validation": "day = 2"})
    assert found.frame["day"].to_list() == [1, 3, None, 2]
    assert found.train.tolist() == [True, False, False, False]
    assert found.validation.tolist() == [False, False, False, True]


def test_the_last_share_in_time_is_validation():
    log = pl.DataFrame({"user": range(10), "item": 1, "time": range(90, -10, -10), "label": 0, "score": 0.5})
    found = prepared(log, split={"last": 0.3})
    assert found.frame["time"].filter(found.validation).to_list() == [70, 80, 90]
    assert (found.train == ~found.validation).all()


def test_rows_of_one_moment_stay_on_one_side_of_a_split_by_time():
    log = pl.DataFrame({"u": ["a"] * 6, "t": [1, 2, 3, 3, 3, 4], "watched": [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]})
    schema = Schema.model_validate(
        {
            "name": "n",
            "data": {"user": "u", "time": "t", "split": {"last": 0.34}},
            "features": [{"name": "u", "side": "user", "kind": "id"}],
            "tasks": [{"name": "vtr", "type": "binary", "label": "watched"}],
        }
    )
    prepared = prepare_log(schema, LogSource(log, (), "test"))
    assert prepared.train.tolist() == [True, True, False, False, False, False]
