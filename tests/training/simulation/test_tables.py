import numpy as np
import polars as pl

from training.simulation import SyntheticData, WorldConfig, items_table, simulate, users_table
from training.simulation.topics import TOPICS


def test_every_viewer_and_video_has_exactly_one_row(data: SyntheticData) -> None:
    assert data.users["user_id"].to_list() == list(data.world.user_ids)
    assert data.items["video_id"].to_list() == list(data.world.video_ids)
    assert data.users["user_id"].is_unique().all()
    assert data.items["video_id"].is_unique().all()


def test_the_log_joins_both_tables_without_loss(data: SyntheticData) -> None:
    assert data.log.join(data.users, on="user_id", how="anti").is_empty()
    assert data.log.join(data.items, on=["video_id", "duration_ms"], how="anti").is_empty()


def test_some_features_are_missing_and_ids_never(data: SyntheticData) -> None:
    missing = data.users.null_count().row(0, named=True) | data.items.null_count().row(0, named=True)
    assert {name for name, n in missing.items() if n} == {
        "age_band",
        "favourite_topic",
        "user_watch_rate",
        "user_like_rate",
        "user_share_rate",
        "user_comment_rate",
        "video_watch_rate",
        "video_share_rate",
        "video_comment_rate",
    }


def test_a_viewer_was_active_on_no_more_days_than_registered(data: SyntheticData) -> None:
    fresh = data.users.filter(pl.col("register_days") < 7)
    assert (fresh["active_days_7d"] <= fresh["register_days"].clip(1)).all()


def test_what_is_observed_hints_at_what_is_hidden_and_does_not_give_it_away(data: SyntheticData) -> None:
    viewers, videos = data.world.viewers, data.world.videos
    pairs = (
        (data.users["user_watch_rate"], viewers.attention),
        (data.users["user_share_rate"].log(), viewers.sharing),
        (data.items["video_watch_rate"], videos.quality),
        (data.items["video_comment_rate"].log(), videos.heat),
        (data.items["video_views"].log1p(), np.log(videos.reach)),
    )
    for observed, hidden in pairs:
        known = observed.is_not_null().to_numpy()
        correlation = np.corrcoef(observed.to_numpy()[known], hidden[known])[0, 1]
        assert 0.3 < correlation < 0.95, observed.name
    favourite = np.array([t.name for t in TOPICS])[viewers.taste.argmax(axis=1)]
    assert 0.5 < (data.users["favourite_topic"] == pl.Series(favourite)).mean() < 0.8


def test_a_title_names_topic_and_length(data: SyntheticData) -> None:
    for row in data.items.head(50).iter_rows(named=True):
        assert row["title"].startswith(f"{row['topic']} · ")
        assert row["title"].endswith(f" in {round(row['duration_ms'] / 1000)} s")


def test_lengths_are_those_of_short_videos(data: SyntheticData) -> None:
    seconds = data.items["duration_ms"] / 1000
    assert seconds.min() >= 5
    assert seconds.max() <= 300
    assert 12 < seconds.median() < 30


def test_the_tables_do_not_know_the_log() -> None:
    short, long = (simulate(WorldConfig(users=50, items=60, rows=rows)) for rows in (100, 5_000))
    assert short.users.equals(long.users)
    assert short.items.equals(long.items)
    assert users_table(short.world).equals(short.users)
    assert items_table(short.world).equals(short.items)
