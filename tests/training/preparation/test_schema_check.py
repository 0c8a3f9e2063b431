"""The check of one's own log: rates to compare with what one knows, and a careful colleague's questions."""

from __future__ import annotations

import math
import re

import numpy as np
import polars as pl
import pytest

from model.errors import FulcrumError
from model.schema import Schema
from training.preparation.schema_check import check_schema

ROWS = 400


@pytest.fixture
def frame():
    random = np.random.default_rng(6)
    return pl.DataFrame(
        {
            "user": random.integers(0, 20, ROWS),
            "item": [f"v{number}" for number in random.integers(0, 30, ROWS)],
            "time": np.arange(ROWS),
            "tab": ["1"] * 300 + ["2"] * 100,
            "age": [None if row % 4 == 0 else 20.0 for row in range(ROWS)],
            "watched": random.integers(0, 10, ROWS),
            "liked": np.arange(ROWS) % 2,
        }
    )


@pytest.fixture
def check(tmp_path):
    def run(frame, features=(), tasks=None, **data):
        frame.write_csv(tmp_path / "log.csv")
        columns = {
            "user": "user",
            "item": "item",
            "time": "time",
            "split": {"train": "time < 300", "validation": "time >= 300"},
        }
        tab = {"name": "tab", "side": "context", "kind": "categorical"}
        return check_schema(
            Schema.model_validate(
                {
                    "name": "s",
                    "data": {**columns, **data},
                    "features": [tab, *features],
                    "tasks": tasks
                    or [
                        {"name": "vtr", "type": "binary", "label": "watched >= 5"},
                        {"name": "vcr", "type": "regression", "label": "watched / 10", "where": "liked = 1"},
                    ],
                }
            ),
            tmp_path,
        )

    return run


def numeric(name, side="context", **more):
    return {"name": name, "side": side, "kind": "numeric", **more}


def assert_warns(report, pattern):
    assert [line for line in report.warnings if re.search(pattern, line)], report.warnings


def test_it_counts_rows_users_items_labels_and_masks(check, frame):
    report = check(frame)
    assert (report.rows, report.train_rows, report.validation_rows) == (400, 300, 100)
    assert (report.users, report.items) == (20, frame["item"].n_unique())
    vtr, vcr = report.tasks
    long_view = frame["watched"] >= 5
    assert (vtr.rows, vtr.mask_rate, vtr.positives) == (400, 1.0, long_view.sum())
    assert vtr.train_mean == pytest.approx(long_view[:300].mean())
    assert vtr.validation_mean == pytest.approx(long_view[300:].mean())
    assert (vcr.rows, vcr.mask_rate, vcr.positives) == (200, 0.5, None)
    assert report.warnings == []


def test_it_tells_what_is_missing_and_what_validation_does_not_know(check, frame):
    report = check(
        frame,
        [
            numeric("age"),
            {"name": "music", "side": "item", "kind": "id", "hash_buckets": 9, "column": "item"},
        ],
    )
    tab, age, music = report.features
    assert (tab.missing, tab.size, tab.unknown_in_validation) == (0.0, "1 values", 1.0)
    assert (age.missing, age.size, age.unknown_in_validation) == (0.25, "mean 20", None)
    assert (music.size, music.unknown_in_validation) == ("hashed", 0.0)


def test_a_feature_that_a_label_is_made_of_is_questioned(check, frame):
    assert_warns(
        check(frame, [numeric("watched")]), "feature 'watched' reads 'watched', as the label of 'vtr'"
    )
    assert_warns(
        check(frame, [numeric("doubled", expr="watched * 2")]),
        "'doubled' reads 'watched', as the label of 'vcr'",
    )


def test_a_feature_that_all_but_decides_a_label_is_questioned(check, frame):
    stay = frame.with_columns(stay=-10 * pl.col("watched") + 0.5)
    assert_warns(check(stay, [numeric("stay")]), "feature 'stay' all but decides the label of 'vtr': a leak?")


def test_training_rows_after_the_first_validation_row_are_questioned(check, frame):
    split = {"train": "time >= 100", "validation": "time < 100"}
    assert_warns(check(frame, split=split), "training reaches to 399, after validation begins at 0")
    assert_warns(check(frame, time=None), "nothing shows that validation comes after training")


def test_a_user_feature_that_varies_is_questioned(check, frame):
    varying = frame.with_columns(mood=pl.col("time") % 7, band=pl.col("user") % 3)
    assert_warns(
        check(varying, [numeric("mood", side="user")]),
        "feature 'mood' takes several values for 100% of user, and serving knows the published one",
    )
    assert check(varying, [numeric("band", side="user")]).warnings == []
    assert_warns(check(varying, [numeric("mood", side="item")]), "several values for .* of item")


def test_a_label_that_hardly_varies_is_mentioned(check, frame):
    assert_warns(
        check(frame.with_columns(watched=0)), r"tasks\.vtr: the label's mean is 0\.00000; expect wide"
    )


def test_an_empty_sample_space_has_no_mean(check, frame):
    vcr = check(frame.with_columns(liked=pl.when(pl.col("time") < 300).then(1).otherwise(0))).tasks[1]
    assert (vcr.rows, vcr.train_mean > 0) == (300, True)
    assert math.isnan(vcr.validation_mean)


def test_what_would_stop_a_training_stops_the_check(check, frame):
    with pytest.raises(FulcrumError, match=r"features\.height: column 'height' is not in the data"):
        check(frame, [numeric("height")])


def test_lists_and_what_is_made_of_the_log_are_told_with_their_lengths_and_gaps(frame, check):
    report = check(
        frame,
        [
            {"name": "seen", "side": "user", "kind": "sequence", "max_values": 5},
            {"name": "rate", "side": "user", "kind": "numeric", "expr": "rate * 2"},
        ],
        histories=[{"name": "seen", "by": "user", "of": "item", "where": "liked = 1", "last": 5}],
        priors=[
            {"name": "rate", "by": "user", "of": "liked - base"},
            {"name": "base", "by": "tab", "of": "liked"},
        ][::-1],
    )
    seen, rate = (next(one for one in report.features if one.name == name) for name in ("seen", "rate"))
    trained = frame.filter(pl.col("time") < 300)
    liked = (pl.col("liked") * (pl.col("time") < 300)).cum_sum().over("user") - pl.col("liked")
    expected = trained.select(liked.clip(0, 5).alias("length"))["length"]
    assert seen.size == f"{trained.filter(liked=1)['item'].n_unique()} values, {expected.mean():.1f} a row"
    assert seen.missing == pytest.approx((expected == 0).mean())
    assert 0 < rate.missing < 0.1
    assert not [warning for warning in report.warnings if "rate" in warning or "seen" in warning]


def test_what_is_made_of_the_log_and_read_by_nothing_is_asked_about(frame, check):
    report = check(frame, priors=[{"name": "rate", "by": "user", "of": "liked"}])
    assert (
        "data: 'rate' is made of the log, and no feature reads rate or rate_count or rate_age_s"
        in report.warnings
    )


def test_labels_may_be_called_anything(check, frame):
    odd = frame.rename({"liked": "order", "watched": "watched seconds"})
    tasks = [
        {"name": "vtr", "type": "binary", "label": "order"},
        {"name": "vcr", "type": "regression", "label": "watched seconds", "bounds": [0, 9]},
    ]
    report = check(odd, tasks=tasks)
    assert [task.rows for task in report.tasks] == [ROWS, ROWS]
    wrong = odd.with_columns(pl.col("watched seconds").cast(pl.String).replace("7", "seven"))
    row = wrong["watched seconds"].to_list().index("seven") + 1
    with pytest.raises(
        FulcrumError, match=rf"tasks\.vcr\.label: .*'seven' is no number \(row {row} of log\.csv\)"
    ):
        check(wrong, tasks=tasks)


def test_what_training_would_doubt_the_check_doubts(check, frame):
    assert_warns(check(pl.concat([frame, frame.head(2)])), "data.log: 2 of 402 rows are exact copies")


def test_tasks_that_a_split_says_nothing_of_are_named(check, frame):
    tasks = [
        {"name": "vtr", "type": "binary", "label": "watched >= 5", "where": "time < 300"},
        {"name": "shr", "type": "binary", "label": "watched >= 5 and time >= 300"},
    ]
    report = check(frame, tasks=tasks)
    assert_warns(report, "tasks.vtr: no row has a label in the validation split")
    assert_warns(report, "tasks.shr: every label is 0 in the training split")
