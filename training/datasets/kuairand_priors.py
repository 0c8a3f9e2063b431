"""Priors of KuaiRand's users and videos: what their history before 25 April 2022 says of them.

Counts, smoothed rates of long views and likes, and additive user and video effects on long views. One row a
user or video, all of it known before the first impression that is trained on. Knows no file and no label
of the log.

Shapes: H exposures of the history, U users, V videos.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

HISTORY_END_MS = 1_650_816_000_000
"""25 April 2022, 00:00 in Shanghai: the history ends before it."""

HISTORY_START_MS = HISTORY_END_MS - 17 * 86_400_000
"""8 April 2022, 00:00 in Shanghai: the official log's first day."""

_DURATION_EDGES_MS = (12e3, 18e3, 30e3, 60e3, 100e3, 150e3, 240e3)
_SPANS = ("short", "medium", "long", "longest")
"""Two of the eight duration buckets each."""
_SWEEPS = 4
_USER_SHRINKAGE, _VIDEO_SHRINKAGE = 5.0, 10.0


def user_priors(exposures: pl.DataFrame, lists: pl.DataFrame, videos: pl.DataFrame) -> pl.DataFrame:
    """One row a user.

    Args:
        exposures: user_id, pos (ascending in time), video_id, long_view, is_like (null where unknown), [H].
        lists: user_id, history_len, last_time_ms, and the lists like_seq and long_watch_seq.
        videos: video_id, duration_ms, tag, author_id, music_id, [V].
    """
    history = _described(exposures, videos)
    effects = _Effects.fit(history)
    history = history.join(effects.of_videos(), on="video_id", how="left")
    watched, liked = pl.col("long_view"), pl.col("is_like")
    mean_watched, mean_liked = _mean(history, "long_view"), _mean(history, "is_like")
    latest = watched.filter(pl.col("newer") < 10)
    of_bucket = history.group_by("bucket").agg(watched.mean().alias("bucket_mean"))
    history = history.join(of_bucket, on="bucket", how="left")
    residual = watched - pl.col("bucket_mean")
    spans = []
    for number, span in enumerate(_SPANS):
        inside = pl.col("bucket").is_in([2 * number, 2 * number + 1])
        shrunk = residual.filter(inside).sum() / (watched.filter(inside).count() + 3)
        spans += [
            shrunk.alias(f"user_residual_{span}"),
            (inside.sum() / pl.len()).alias(f"user_share_{span}"),
        ]
    made = history.group_by("user_id").agg(
        pl.len().alias("user_exposures"),
        _smoothed(watched, mean_watched, 5).alias("user_long_view"),
        _smoothed(latest, mean_watched, 3).alias("user_long_view_latest"),
        _smoothed(liked, mean_liked, 20).alias("user_like"),
        pl.col("log_duration").mean().alias("user_log_duration"),
        pl.col("log_duration").filter(watched == 1).mean().alias("user_log_duration_watched"),
        (1 - pl.col("video_id").n_unique() / pl.len()).alias("user_repeats"),
        (pl.col("tag").n_unique() / pl.len()).alias("user_tag_diversity"),
        pl.col("video_effect").mean().alias("user_videos_effect"),
        *spans,
    )
    listed, likes = pl.col("long_watch_seq").list.len(), pl.col("like_seq").list.len()
    length = pl.col("history_len")
    from_lists = lists.select(
        pl.col("user_id").cast(pl.Int64),
        length.alias("user_history_len"),
        ((HISTORY_END_MS - pl.col("last_time_ms")) / 3.6e6).alias("user_hours_away"),
        listed.alias("user_listed_watched"),
        likes.alias("user_listed_liked"),
        ((listed + 5 * mean_watched) / (length.clip(1) + 5)).alias("user_listed_long_view"),
        ((likes + 20 * mean_liked) / (length + 20)).alias("user_listed_like"),
    )
    top_tag = (
        history.drop_nulls("tag")
        .group_by("user_id", "tag")
        .agg(watched.sum().alias("watched"), watched.count().alias("known"))
        .sort(["watched", "known", "tag"], descending=[True, True, False])
        .group_by("user_id", maintain_order=True)
        .agg(pl.col("tag").first().alias("user_top_tag"))
    )
    return (
        made.join(top_tag, on="user_id", how="left")
        .join(from_lists, on="user_id", how="full", coalesce=True)
        .join(effects.of_users(), on="user_id", how="left")
    )


def video_priors(exposures: pl.DataFrame, videos: pl.DataFrame) -> pl.DataFrame:
    """One row a video: its own history, and that of its author, first tag and music.

    Args:
        exposures: as in `user_priors`, [H].
        videos: as in `user_priors`, [V].
    """
    history = _described(exposures, videos)
    effects = _Effects.fit(history)
    mean_watched, mean_liked = _mean(history, "long_view"), _mean(history, "is_like")
    watched = pl.col("long_view")
    by_user = history.group_by("user_id").agg(_smoothed(watched, mean_watched, 5).alias("user_rate"))
    history = history.join(by_user, on="user_id", how="left").join(
        effects.of_users(), on="user_id", how="left"
    )
    history = history.with_columns(residual=watched - pl.col("user_effect"))
    keen, picky = pl.col("user_rate") > 0.4, pl.col("user_rate") < 0.25
    of_video = history.group_by("video_id").agg(
        pl.len().alias("video_exposures"),
        *_rates("video", mean_watched, mean_liked, 20),
        pl.col("user_rate").mean().alias("video_audience"),
        (pl.col("newer") / pl.col("of_user")).mean().alias("video_recency"),
        (1 - pl.col("user_id").n_unique() / pl.len()).alias("video_repeats"),
        _smoothed(watched.filter(pl.col("newer") < 8), mean_watched, 20).alias("video_long_view_latest"),
        _smoothed(watched.filter(keen), mean_watched, 20).alias("video_long_view_keen"),
        _smoothed(watched.filter(picky), mean_watched, 20).alias("video_long_view_picky"),
    )
    priors = videos.select("video_id", "author_id", "tag", "music_id").join(
        of_video, on="video_id", how="left"
    )
    for key, name, shrinkage in (("author_id", "author", 20), ("tag", "tag", 100), ("music_id", "music", 20)):
        rates = (
            history.drop_nulls(key)
            .group_by(key)
            .agg(pl.len().alias(f"{name}_exposures"), *_rates(name, mean_watched, mean_liked, shrinkage))
        )
        priors = priors.join(rates, on=key, how="left")
    return priors.drop("author_id", "tag", "music_id").join(effects.of_videos(), on="video_id", how="left")


def _described(exposures: pl.DataFrame, videos: pl.DataFrame) -> pl.DataFrame:
    """Exposures with their videos' attributes, duration bucket, and how many newer ones the user has."""
    attributes = videos.select(
        "video_id", "author_id", "music_id", "tag", pl.col("duration_ms").cast(pl.Float64)
    )
    middle = attributes["duration_ms"].median()
    known = pl.col("duration_ms").fill_null(middle)
    return (
        exposures.select(
            pl.col("user_id", "video_id").cast(pl.Int64),
            "pos",
            pl.col("long_view", "is_like").cast(pl.Float64),
        )
        .join(attributes, on="video_id", how="left", maintain_order="left")
        .with_columns(
            bucket=pl.sum_horizontal((known > edge).cast(pl.Int64) for edge in _DURATION_EDGES_MS),
            log_duration=pl.col("duration_ms").log(),
            of_user=pl.len().over("user_id"),
        )
        .with_columns(newer=pl.col("of_user") - 1 - pl.col("pos"))
    )


@dataclass(frozen=True)
class _Effects:
    """long_view = bucket mean + user effect + video effect + noise, by alternating shrunk means.

    Attributes:
        user_ids, user: [U].
        video_ids, video: [V].
    """

    user_ids: npt.NDArray[np.int64]
    user: npt.NDArray[np.float64]
    video_ids: npt.NDArray[np.int64]
    video: npt.NDArray[np.float64]

    @classmethod
    def fit(cls, history: pl.DataFrame) -> _Effects:
        known = history.drop_nulls("long_view")
        user_ids, user_of = np.unique(known["user_id"].to_numpy(), return_inverse=True)
        video_ids, video_of = np.unique(known["video_id"].to_numpy(), return_inverse=True)
        bucket_of, watched = known["bucket"].to_numpy(), known["long_view"].to_numpy()
        users, videos = np.bincount(user_of), np.bincount(video_of)
        buckets = np.maximum(np.bincount(bucket_of, minlength=8), 1)
        user, video = np.zeros(len(user_ids)), np.zeros(len(video_ids))
        bucket = np.bincount(bucket_of, watched, minlength=8) / buckets
        for _ in range(_SWEEPS if len(watched) else 0):
            rest = watched - user[user_of] - bucket[bucket_of]
            video = np.bincount(video_of, rest) / (videos + _VIDEO_SHRINKAGE)
            rest = watched - video[video_of] - bucket[bucket_of]
            user = np.bincount(user_of, rest) / (users + _USER_SHRINKAGE)
            rest = watched - video[video_of] - user[user_of]
            bucket = np.bincount(bucket_of, rest, minlength=8) / buckets
        return cls(user_ids, user, video_ids, video)

    def of_users(self) -> pl.DataFrame:
        return pl.DataFrame({"user_id": self.user_ids, "user_effect": self.user})

    def of_videos(self) -> pl.DataFrame:
        return pl.DataFrame({"video_id": self.video_ids, "video_effect": self.video})


def _rates(name: str, mean_watched: float, mean_liked: float, shrinkage: float) -> list[pl.Expr]:
    return [
        _smoothed(pl.col("long_view"), mean_watched, shrinkage).alias(f"{name}_long_view"),
        _smoothed(pl.col("is_like"), mean_liked, 50).alias(f"{name}_like"),
        _smoothed(pl.col("residual"), mean_watched, shrinkage).alias(f"{name}_residual"),
    ]


def _smoothed(values: pl.Expr, prior: float, shrinkage: float) -> pl.Expr:
    """Mean of the known values, drawn to the prior as if by `shrinkage` more of them."""
    return (values.sum() + prior * shrinkage) / (values.count() + shrinkage)


def _mean(history: pl.DataFrame, column: str) -> float:
    mean = history[column].mean()
    return float(mean) if isinstance(mean, float) else 0.0
