"""The KuaiRand reader on small files of the official layout: cleaning, traffic, priors of the past alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from model.errors import FulcrumError
from training.datasets import read_source
from training.datasets.kuairand_priors import HISTORY_END_MS
from training.datasets.source import LogSource
from training.recipe import load_recipe

DAY_MS = 86_400_000
USERS, VIDEOS = 12, 9


def log(seed: int, rows: int, first_day: int, days: int, is_rand: int = 0) -> pl.DataFrame:
    """Impressions from `first_day` days after 25 April on."""
    random = np.random.default_rng(seed)
    times = HISTORY_END_MS + first_day * DAY_MS + np.sort(random.integers(0, days * DAY_MS, rows))
    video = random.integers(0, VIDEOS, rows)
    duration = (video + 1) * 9_000
    played = (duration * random.random(rows)).astype(np.int64)
    return pl.DataFrame(
        {
            "user_id": random.integers(0, USERS, rows),
            "video_id": video,
            "date": pl.Series(times + 8 * 3_600_000)
            .cast(pl.Datetime("ms"))
            .dt.strftime("%Y%m%d")
            .cast(pl.Int64),
            "time_ms": times,
            "is_click": (played > 7_000).astype(np.int64),
            "is_like": random.integers(0, 2, rows),
            "is_comment": random.integers(0, 2, rows),
            "is_forward": random.integers(0, 2, rows),
            "long_view": (played > 12_000).astype(np.int64),
            "play_time_ms": played,
            "duration_ms": duration,
            "is_rand": is_rand,
            "tab": random.integers(0, 3, rows),
        }
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    log(1, 400, -17, 14).write_csv(tmp_path / "log_standard_4_08_to_4_21_pure.csv")
    log(2, 300, -3, 13).write_csv(tmp_path / "log_standard_4_22_to_5_08_pure.csv")
    log(3, 100, -3, 13, is_rand=1).write_csv(tmp_path / "log_random_4_22_to_5_08_pure.csv")
    pl.DataFrame(
        {
            "user_id": range(USERS),
            "user_active_degree": ["full_active"] * USERS,
            **{name: range(USERS) for name in ("follow_user_num", "fans_user_num", "friend_user_num")},
            "register_days": range(USERS),
            **{f"onehot_feat{k}": [k] * USERS for k in (1, 2, 3, 7, 8)},
        }
    ).write_csv(tmp_path / "user_features_pure.csv")
    pl.DataFrame(
        {
            "video_id": range(VIDEOS),
            "author_id": [k // 2 for k in range(VIDEOS)],
            "upload_type": ["ShortImport"] * VIDEOS,
            "video_duration": [(k + 1) * 9_000.0 for k in range(VIDEOS)],
            "server_width": [720.0] * VIDEOS,
            "server_height": [1280.0] * VIDEOS,
            "music_id": [k % 3 for k in range(VIDEOS)],
            "tag": [f"{k % 4},7" if k % 4 else None for k in range(VIDEOS)],
        }
    ).write_csv(tmp_path / "video_features_basic_pure.csv")
    return tmp_path


def read(folder: Path, **options: str) -> LogSource:
    overrides = [f"data.options.{name}={value}" for name, value in options.items()]
    return read_source(load_recipe("kuairand", overrides).data_schema, folder)


def priors(source: LogSource) -> dict[str, pl.DataFrame]:
    return {
        table.name: table.frame.sort(table.key) for table in source.tables if table.name.endswith("_priors")
    }


def test_impressions_before_25_april_are_history_and_not_trained_on(folder: Path) -> None:
    source = read(folder)
    assert source.log["time_ms"].min() >= HISTORY_END_MS  # type: ignore[operator]
    assert source.log["is_rand"].sum() == 0
    assert "history and no impressions to train on" in source.notes[0]
    for frame in priors(source).values():
        assert (frame["known_from_ms"] == HISTORY_END_MS - 1).all()


def test_what_happens_from_25_april_on_changes_no_prior(folder: Path) -> None:
    before = priors(read(folder))
    path = folder / "log_standard_4_22_to_5_08_pure.csv"
    later = pl.col("time_ms") >= HISTORY_END_MS
    changed = pl.read_csv(path).with_columns(
        pl.when(later).then(1 - pl.col(name)).otherwise(pl.col(name)).alias(name)
        for name in ("long_view", "is_like")
    )
    changed.write_csv(path)
    after = priors(read(folder))
    for name, frame in before.items():
        assert frame.equals(after[name], null_equal=True)


def test_history_tables_give_the_priors_that_the_log_itself_gives(folder: Path) -> None:
    derived = priors(read(folder))
    earlier = (
        pl.concat([pl.read_csv(path) for path in sorted(folder.glob("log_standard_*"))])
        .filter(pl.col("time_ms") < HISTORY_END_MS)
        .unique(["user_id", "video_id", "time_ms"], keep="first", maintain_order=True)
        .sort("user_id", "time_ms", maintain_order=True)
    )
    earlier.select(
        "user_id", pl.int_range(pl.len()).over("user_id").alias("pos"), "video_id", "long_view", "is_like"
    ).write_parquet(folder / "history_exposures_to_4_24.parquet")
    earlier.group_by("user_id", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("history_len"),
        pl.col("time_ms").max().alias("last_time_ms"),
        pl.col("video_id").filter(pl.col("is_like") == 1).tail(50).alias("like_seq"),
        pl.col("video_id").filter(pl.col("long_view") == 1).tail(50).alias("long_watch_seq"),
    ).write_parquet(folder / "user_history_to_4_24.parquet")
    given = priors(read(folder))
    for name, frame in derived.items():
        assert frame.columns == given[name].columns
        for column in frame.columns:
            if frame[column].dtype.is_float():
                np.testing.assert_allclose(frame[column], given[name][column], rtol=1e-12)
            else:
                assert frame[column].equals(given[name][column], null_equal=True)


def test_rates_are_smoothed_means_of_the_known_past(folder: Path) -> None:
    made = priors(read(folder))["user_priors"]
    earlier = pl.concat([pl.read_csv(path) for path in sorted(folder.glob("log_standard_*"))]).filter(
        pl.col("time_ms") < HISTORY_END_MS
    )
    overall = earlier["long_view"].mean()
    for user in range(USERS):
        seen = earlier.filter(pl.col("user_id") == user)["long_view"]
        expected = (seen.sum() + 5 * overall) / (len(seen) + 5)  # type: ignore[operator]
        assert made.filter(pl.col("user_id") == user)["user_long_view"][0] == pytest.approx(expected)


def test_random_traffic_is_read_apart_with_the_priors_of_the_standard_log(folder: Path) -> None:
    random = read(folder, traffic="random")
    assert random.log["is_rand"].unique().to_list() == [1]
    assert random.fingerprint != read(folder).fingerprint
    assert priors(random)["user_priors"].equals(priors(read(folder))["user_priors"], null_equal=True)


def test_repeated_impressions_and_videos_without_a_duration_are_dropped(folder: Path) -> None:
    before = read(folder).log.height
    path = folder / "log_standard_4_22_to_5_08_pure.csv"
    rows = pl.read_csv(path)
    last = rows.tail(1)
    nothing = last.with_columns(pl.lit(0, pl.Int64).alias("duration_ms"), pl.col("time_ms") + 1)
    pl.concat([rows, last, nothing]).write_csv(path)
    assert read(folder).log.height == before


def test_what_was_before_the_log_and_beside_it_is_past(folder: Path) -> None:
    standard, random = read(folder), read(folder, traffic="random")
    assert standard.past is not None
    assert random.past is not None
    every = pl.concat([pl.read_csv(path) for path in sorted(folder.glob("log_standard_*"))])
    earlier = every.filter(pl.col("time_ms") < HISTORY_END_MS)
    assert standard.past["time_ms"].sort().to_list() == earlier["time_ms"].sort().to_list()
    assert random.past["time_ms"].sort().to_list() == every["time_ms"].sort().to_list()


def test_exposures_without_times_keep_their_order_and_end_at_the_users_last(folder: Path) -> None:
    pl.DataFrame(
        {
            "user_id": [1, 2, 1, 1],
            "pos": [2, 0, 0, 1],
            "video_id": [7, 5, 3, 4],
            "long_view": [1, 0, 1, 0],
            "is_like": [0, 0, 1, None],
        }
    ).write_parquet(folder / "history_exposures_to_4_24.parquet")
    lasts = [HISTORY_END_MS - 5, HISTORY_END_MS - 9]
    pl.DataFrame(
        {
            "user_id": [1, 2],
            "history_len": [3, 1],
            "last_time_ms": lasts,
            "watch_seq": [[3, 4, 7], [5]],
            "like_seq": [[3], []],
            "long_watch_seq": [[3, 7], []],
        }
    ).write_parquet(folder / "user_history_to_4_24.parquet")
    past = read(folder).past
    assert past is not None
    ordered = past.sort("time_ms")
    assert ordered.filter(pl.col("user_id") == 1)["video_id"].to_list() == [3, 4, 7]
    assert ordered["time_ms"].to_list()[-2:] == [lasts[1], lasts[0]]
    assert (past["time_ms"] > HISTORY_END_MS - 18 * DAY_MS).all()


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("log_standard_*", r"no log_standard_\*"), ("user_features_*", "no user_features_")],
)
def test_a_missing_file_is_named(folder: Path, pattern: str, message: str) -> None:
    for path in folder.glob(pattern):
        path.unlink()
    with pytest.raises(FulcrumError, match=message):
        read(folder)


def test_an_unknown_option_is_refused_by_name(folder: Path) -> None:
    with pytest.raises(FulcrumError, match=r"data\.options\.trafic: unknown key"):
        read(folder, trafic="random")
