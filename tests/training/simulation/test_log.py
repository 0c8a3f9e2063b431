import time

import numpy as np
import polars as pl
import pytest

from training.simulation import (
    SyntheticData,
    World,
    WorldConfig,
    simulate,
    simulate_log,
)
from training.simulation.population import IntArray

SMALL = WorldConfig(users=60, items=80, rows=3_000)


def labelled(log: pl.DataFrame) -> pl.DataFrame:
    """The log with the tasks' labels and sample space, by their definitions."""
    return log.with_columns(
        vtr=pl.col("play_time_ms") >= pl.min_horizontal("duration_ms", 7_000),
        vcr=(pl.col("play_time_ms") / pl.col("duration_ms")).clip(0, 1),
        entered=(pl.col("play_time_ms") > 0) | (pl.col("is_click") == 1),
    )


def area_under_curve(positive: np.ndarray, score: np.ndarray) -> float:
    rank = np.empty(len(score))
    rank[np.argsort(score, kind="stable")] = np.arange(1, len(score) + 1)
    n = positive.sum()
    return float((rank[positive].sum() - n * (n + 1) / 2) / (n * (len(score) - n)))


def test_the_same_seed_gives_identical_frames() -> None:
    one, two = simulate(SMALL), simulate(SMALL)
    assert one.log.equals(two.log)
    assert one.users.equals(two.users)
    assert one.items.equals(two.items)


def test_another_seed_gives_another_world() -> None:
    one, two = simulate(SMALL), simulate(SMALL.model_copy(update={"seed": 8}))
    assert not one.log.equals(two.log)
    assert not one.users.equals(two.users)
    assert not one.items.equals(two.items)


def test_another_stream_gives_another_log_of_the_same_world() -> None:
    world = World.create(SMALL)
    assert not simulate_log(world).equals(simulate_log(world, stream=1))


def test_two_hundred_thousand_rows_take_seconds_and_not_minutes() -> None:
    start = time.process_time()
    assert simulate_log(World.create()).height >= 200_000
    assert time.process_time() - start < 60


def test_columns_have_the_documented_types_and_no_nulls(data: SyntheticData) -> None:
    text = ("request_id", "session_id", "user_id", "video_id", "tab")
    whole = ("time_ms", "day", "hour", "position", "duration_ms", "play_time_ms")
    flags = ("is_click", "is_like", "is_share", "is_comment")
    kinds = dict.fromkeys(text, pl.String) | dict.fromkeys(whole, pl.Int64) | dict.fromkeys(flags, pl.Int8)
    assert dict(data.log.schema) == kinds
    assert sum(data.log.null_count().row(0)) == 0


@pytest.mark.parametrize(("rows", "height"), [(1, 10), (10, 10), (2_995, 3_000)])
def test_rows_are_rounded_up_to_full_requests(rows: int, height: int) -> None:
    log = simulate_log(World.create(SMALL), rows=rows)
    assert log.height == height
    assert (log.group_by("request_id").len()["len"] == 10).all()


def test_zero_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="rows must be at least 1"):
        simulate_log(World.create(SMALL), rows=0)


def test_time_never_goes_back_and_moves_on_within_a_session(data: SyntheticData) -> None:
    assert data.log["time_ms"].is_sorted()
    steps = data.log.select(pl.col("time_ms").diff().over("session_id").drop_nulls())
    assert (steps["time_ms"] > 0).all()


def test_a_session_belongs_to_one_viewer_tab_day_and_hour_and_starts_in_it(data: SyntheticData) -> None:
    columns = ("user_id", "tab", "day", "hour")
    sessions = data.log.group_by("session_id").agg(
        pl.col(columns).n_unique().name.suffix("_n"), pl.col("day", "hour", "time_ms").first()
    )
    assert all((sessions[f"{c}_n"] == 1).all() for c in columns)
    since = sessions["time_ms"] - data.world.config.start_ms
    assert (since // 86_400_000 == sessions["day"]).all()
    assert (since // 3_600_000 % 24 == sessions["hour"]).all()
    assert sorted(sessions["day"].unique()) == list(range(10))


def test_a_request_shows_ten_different_videos_in_order(data: SyntheticData) -> None:
    requests = data.log.group_by("request_id").agg(
        pl.col("video_id").n_unique(), pl.col("position"), pl.col("session_id").n_unique()
    )
    assert (requests["video_id"] == 10).all()
    assert (requests["session_id"] == 1).all()
    assert (requests["position"] == list(range(10))).all()


def test_who_did_not_enter_neither_shares_comments_nor_likes(data: SyntheticData) -> None:
    outside = labelled(data.log).filter(~pl.col("entered"))
    assert outside.height > 0
    assert outside.select(pl.col("is_share", "is_comment", "is_like", "vtr", "vcr").sum()).row(0) == (
        0,
        0,
        0,
        0,
        0,
    )


def test_a_click_alone_is_an_entry_too(data: SyntheticData) -> None:
    assert data.log.filter((pl.col("play_time_ms") == 0) & (pl.col("is_click") == 1)).height > 0


def test_a_video_plays_no_more_often_than_the_cap(data: SyntheticData) -> None:
    assert (data.log["play_time_ms"] >= 0).all()
    assert (data.log["play_time_ms"] <= 3 * data.log["duration_ms"]).all()


def test_rates_are_plausible(data: SyntheticData) -> None:
    log = labelled(data.log)
    inside = log.filter("entered")
    assert 0.42 < log["vtr"].mean() < 0.48
    assert 0.88 < log["entered"].mean() < 0.94
    assert 0.42 < inside["vcr"].mean() < 0.48
    assert 0.01 < inside["is_share"].mean() < 0.02
    assert 0.01 < inside["is_comment"].mean() < 0.02
    assert 0.02 < inside["is_like"].mean() < 0.06


def test_position_bias_is_visible(data: SyntheticData) -> None:
    by_position = (
        labelled(data.log).group_by("position").agg(pl.col("entered", "vtr").mean()).sort("position")
    )
    assert (by_position["entered"].diff().drop_nulls() < 0).all()
    assert by_position["vtr"][0] > by_position["vtr"][9] + 0.05


def test_long_videos_are_completed_less_and_watched_longer(data: SyntheticData) -> None:
    log = labelled(data.log).filter("entered")
    short, long = log.filter(pl.col("duration_ms") < 15_000), log.filter(pl.col("duration_ms") > 60_000)
    assert long["vcr"].mean() < short["vcr"].mean() - 0.1
    assert long["play_time_ms"].mean() > short["play_time_ms"].mean()


def test_the_best_possible_predictions_are_good_and_not_perfect(data: SyntheticData) -> None:
    log = labelled(data.log)
    truth = data.world.truth(
        log["user_id"].to_list(),
        log["video_id"].to_list(),
        log["position"].to_numpy(),
        log["hour"].to_numpy(),
        log["tab"].to_list(),
    )
    inside = log["entered"].to_numpy()
    assert 0.80 < area_under_curve(log["vtr"].to_numpy(), truth.vtr) < 0.85
    assert 0.72 < area_under_curve((log["is_share"] == 1).to_numpy()[inside], truth.shr[inside]) < 0.88
    assert 0.72 < area_under_curve((log["is_comment"] == 1).to_numpy()[inside], truth.cmr[inside]) < 0.88


def test_no_single_task_ranks_as_well_as_the_reward() -> None:
    world = World.create()
    rng = np.random.default_rng(0)
    users = np.repeat(rng.integers(0, 4_000, 400), 60)
    videos = rng.integers(0, 2_000, 24_000)
    truth = world.truth([f"u{k}" for k in users], [f"v{k}" for k in videos])
    reward = truth.reward.reshape(400, 60)

    def top_ten(score: np.ndarray) -> float:
        order = np.argsort(-score.reshape(400, 60), axis=1)[:, :10]
        return float(np.take_along_axis(reward, order, axis=1).mean())

    best = top_ten(truth.reward)
    singles = sorted(top_ten(s) for s in (truth.vtr, truth.vcr, truth.shr, truth.cmr))
    assert singles[-1] < 0.92 * best
    seconds = world.videos.duration_ms[videos] / 1000
    fused = truth.vtr**0.25 * truth.vcr * truth.shr**0.3 * truth.cmr**0.15 * np.log1p(seconds / 30) ** 0.6
    assert singles[-1] < top_ten(fused) < best
    assert np.corrcoef(truth.cmr, truth.vtr)[0, 1] < -0.05


def test_another_policy_may_choose_what_is_shown() -> None:
    def always_the_first(world: World, users: IntArray, rng: np.random.Generator) -> IntArray:
        return np.tile(np.arange(world.config.slots), (len(users), 1))

    log = simulate_log(World.create(SMALL), policy=always_the_first)
    assert (log["video_id"] == "v" + log["position"].cast(pl.String)).all()
