"""Predictions as served and their labels, on joined logs written by hand."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest

from model.errors import FulcrumError
from model.schema import Schema
from training.progress import Note
from training.tuning.logged_predictions import check_feature, logged_predictions

SCHEMA = Schema.model_validate(
    {
        "name": "own",
        "data": {
            "reader": "files",
            "tables": [{"name": "clips", "files": "clips.csv", "key": "clip"}],
            "keep": "rank < 100",
            "user": "viewer",
            "item": "clip",
            "time": "when",
            "video_len": {"column": "seconds", "unit": "s"},
            "split": {"last": 0.25},
            "histories": [{"name": "shown", "by": "viewer", "of": "clip", "last": 5}],
        },
        "features": [
            {"name": "clip", "side": "item", "kind": "id"},
            {"name": "topic", "side": "item", "kind": "categorical"},
            {"name": "shown", "side": "user", "kind": "sequence"},
            {"name": "tab", "side": "context", "kind": "categorical"},
        ],
        "tasks": [
            {"name": "shr", "type": "binary", "label": "is_share", "where": "watched > 0"},
            {"name": "vcr", "type": "regression", "label": "watched / seconds"},
        ],
    }
)
BUNDLE: Any = SimpleNamespace(
    schema=SCHEMA, task_names=SCHEMA.task_names, version="sha256:ours", path=Path("own/bundle")
)


def served(**columns: object) -> pl.DataFrame:
    """Six impressions of three users, the later before the earlier."""
    made = {
        "exposure_id": ["x5", "x4", "x3", "x2", "x1", "x0"],
        "item_id": ["a", "b", "c", "a", "b", "c"],
        "position": 1,
        "user_id": ["u2", "u2", "u1", "u1", "u0", "u0"],
        "time_ms": [5, 4, 3, 2, 1, 0],
        "video_len_s": [10.0, None, 30.0, 40.0, 50.0, 60.0],
        "mature": True,
        "bundle_version": "sha256:ours",
        "p_shr": [0.5, 0.4, 0.3, 0.2, 0.1, 0.0],
        "p_vcr": [0.55, 0.45, 0.35, 0.25, 0.15, 0.05],
        "tab": ["feed", "feed", None, "friends", "feed", "feed"],
        "watched": [5.0, 5.0, 0.0, 10.0, 25.0, 60.0],
        "is_share": [1, 0, 0, 1, 0, 1],
        **columns,
    }
    plain = {name: value for name, value in made.items() if isinstance(value, list)}
    shared = {name: value for name, value in made.items() if not isinstance(value, list)}
    return pl.DataFrame(plain).with_columns(pl.lit(value).alias(name) for name, value in shared.items())


def write(folder: Path, frame: pl.DataFrame) -> Path:
    path = folder / "impressions" / "day=2026-03-01" / "part-0.parquet"
    path.parent.mkdir(parents=True)
    frame.write_parquet(path)
    return folder


def test_what_was_served_meets_the_bundles_labels_and_sample_spaces(tmp_path: Path) -> None:
    predicted = logged_predictions(BUNDLE, write(tmp_path, served()), "tab")
    assert predicted.predictions["shr"].tolist() == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert predicted.labels[:, 0].tolist() == [1, 0, 1, 0, 0, 1]
    assert predicted.masks[:, 0].tolist() == [True, True, True, False, True, True]
    np.testing.assert_allclose(predicted.labels[:, 1], [1, 0.5, 0.25, 0, np.nan, 0.5])
    assert predicted.masks[:, 1].tolist() == [True, True, True, True, False, True]
    np.testing.assert_array_equal(predicted.video_len_s, [60, 50, 40, 30, np.nan, 10])
    assert predicted.values == ["feed", "feed", "friends", None, "feed", "feed"]
    assert len(set(predicted.users.tolist())) == 3


def test_rows_without_predictions_or_of_another_bundle_are_left_out_and_counted(tmp_path: Path) -> None:
    frame = served(
        p_shr=[0.5, None, 0.3, 0.2, 0.1, 0.0],
        bundle_version=["sha256:ours", "sha256:ours", "sha256:other", "sha256:ours", "sha256:ours", None],
    )
    events: list[object] = []
    predicted = logged_predictions(BUNDLE, write(tmp_path, frame), observer=events.append)
    assert predicted.predictions["shr"].tolist() == pytest.approx([0.1, 0.2, 0.5])
    assert predicted.values == ()
    assert Note("3 of 6 impressions have predictions of this bundle") in events


def test_open_windows_count_where_they_are_asked_for(tmp_path: Path) -> None:
    folder = write(tmp_path, served(mature=[True, True, True, False, True, True]))
    assert len(logged_predictions(BUNDLE, folder)) == 5
    assert len(logged_predictions(BUNDLE, folder, open_too=True)) == 6


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (served().drop("p_vcr"), r"no column 'p_vcr'; expected predictions of the bundle's tasks, shr, vcr"),
        (served(p_shr=[None] * 6), r"no impression has its predictions; serve with FULCRUM_EXPOSURE_CANDID"),
        (
            served(bundle_version="sha256:other"),
            r"no predictions of own/bundle, sha256:ours; there are sha256:other",
        ),
        (served(mature=False), "windows of all impressions were open"),
        (served().drop("is_share"), "is_share"),
    ],
)
def test_a_log_that_cannot_be_calibrated_on_says_why(
    tmp_path: Path, frame: pl.DataFrame, message: str
) -> None:
    with pytest.raises(FulcrumError, match=message) as refusal:
        logged_predictions(BUNDLE, write(tmp_path, frame))
    assert len(str(refusal.value).splitlines()) == 1


def test_segments_are_of_context_features(tmp_path: Path) -> None:
    check_feature(SCHEMA, "tab")
    check_feature(SCHEMA, None)
    for name in ("topic", "hour"):
        with pytest.raises(
            FulcrumError, match=f"--by {name}: no context feature of the bundle; expected video_l"
        ):
            check_feature(SCHEMA, name)
