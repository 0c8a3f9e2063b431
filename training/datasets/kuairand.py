"""KuaiRand (Gao et al., CIKM 2022): the official csv files or parquet of the same columns.

Any set of `log_standard_*` files is the log; `log_random_*` files, the random traffic, stay apart and are
read with `options: {traffic: random}`. Each user's last 50 exposed, liked and long-viewed videos before
25 April 2022 are `watch_seq`, `like_seq` and `long_watch_seq`, oldest first. They, and user and video priors,
come from the tables `history_exposures_*` and `user_history_*` where they are, else from the log's own rows
of those days, which are then not trained on. Those impressions are also the past of the log's first ones, for
priors and histories that a recipe makes of the log; for the random traffic, the whole standard log is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import polars as pl

from model.errors import FulcrumError
from model.frozen import Frozen
from model.schema import Schema
from training.datasets.kuairand_priors import HISTORY_END_MS, HISTORY_START_MS, user_priors, video_priors
from training.datasets.reader import reader
from training.datasets.source import LogSource, SourceTable, fingerprint, matching
from training.datasets.table_files import read_table, stacked

_FORMATS = (".csv", ".parquet")
_KNOWN_FROM = "known_from_ms"
_LISTS = ("watch_seq", "like_seq", "long_watch_seq")


class KuaiRandOptions(Frozen):
    """`data.options` of the reader `kuairand`."""

    traffic: Literal["standard", "random"] = "standard"
    """Which impressions: of the recommender in service, or of random exposure (unbiased, for evaluation)."""


@reader("kuairand", needs="KuaiRand's files", options=KuaiRandOptions)
def read_kuairand(_schema: Schema, folder: Path, options: KuaiRandOptions) -> LogSource:
    """Read log, users, videos and their priors.

    Cleaning: one row per (user_id, video_id, time_ms), rows with a positive duration.

    Raises:
        FulcrumError: a file is missing or cannot be read.
    """
    standard = _files(folder, "log_standard_*")
    log_paths = standard if options.traffic == "standard" else _files(folder, "log_random_*")
    if not log_paths:
        raise FulcrumError(f"data folder {folder}: no log_{options.traffic}_*.csv or .parquet in it")
    users_paths, videos_paths = (
        _files(folder, name) for name in ("user_features_*", "video_features_basic_*")
    )
    for paths, name in ((users_paths, "user_features"), (videos_paths, "video_features_basic")):
        if not paths:
            raise FulcrumError(f"data folder {folder}: no {name}_*.csv or .parquet in it")
    exposure_paths, list_paths = _files(folder, "history_exposures_*"), _files(folder, "user_history_*")
    log = _clean(_stack(log_paths))
    beside = _clean(_stack(standard)) if options.traffic == "random" and standard else log.clear()
    videos = _videos(_stack(videos_paths))
    notes = []
    if exposure_paths and list_paths:
        exposures = _stack(exposure_paths).sort("user_id", "pos")
        lists = _stack(list_paths)
        before = _dated(exposures, lists)
        history_paths = [*exposure_paths, *list_paths]
    else:
        before = (log if options.traffic == "standard" else beside).filter(pl.col("time_ms") < HISTORY_END_MS)
        exposures, lists = _history_of(before)
        impressions = log.height
        log = log.filter(pl.col("time_ms") >= HISTORY_END_MS)
        history_paths = [path for path in standard if path not in log_paths]
        notes.append(
            f"priors are made of {exposures.height:,} exposures before 25 April 2022; "
            f"{impressions - log.height:,} rows of those days are history and no impressions to train on"
        )
    known_from = pl.lit(HISTORY_END_MS - 1).alias(_KNOWN_FROM)
    of_users = user_priors(exposures, lists, videos).with_columns(known_from)
    kept = [name for name in ("user_id", *_LISTS) if name in lists.columns]
    of_videos = video_priors(exposures, videos).with_columns(known_from)
    tables = (
        SourceTable("users", _stack(users_paths).unique("user_id", maintain_order=True), "user_id"),
        SourceTable("videos", videos, "video_id"),
        SourceTable("user_priors", of_users, "user_id", _KNOWN_FROM),
        SourceTable("user_lists", lists.select(*kept, known_from), "user_id", _KNOWN_FROM),
        SourceTable("video_priors", of_videos, "video_id", _KNOWN_FROM),
    )
    read = [*log_paths, *users_paths, *videos_paths, *history_paths]
    read += [path for path in standard if path not in read]
    beside = beside.filter(pl.col("time_ms") >= HISTORY_END_MS)
    past = pl.concat([before, beside], how="diagonal_relaxed")
    return LogSource(log, tables, fingerprint(read, options.traffic), tuple(notes), past)


def _files(folder: Path, stem: str) -> list[Path]:
    return matching(folder, [stem + suffix for suffix in _FORMATS])


def _stack(paths: list[Path]) -> pl.DataFrame:
    frame = stacked([(path, read_table(path)) for path in paths])
    return frame.with_columns(
        pl.col(name).cast(pl.Int64) for name in ("user_id", "video_id") if name in frame.columns
    )


def _clean(log: pl.DataFrame) -> pl.DataFrame:
    return log.unique(["user_id", "video_id", "time_ms"], keep="first", maintain_order=True).filter(
        pl.col("duration_ms") > 0
    )


def _videos(videos: pl.DataFrame) -> pl.DataFrame:
    """Basic features, all tags and the first of them, the aspect ratio, the duration as in the log."""
    tags = pl.col("tag").cast(pl.String).str.split(",")
    return videos.unique("video_id", maintain_order=True).with_columns(
        tags=tags,
        tag=tags.list.first(),
        aspect=pl.col("server_height") / pl.col("server_width"),
        duration_ms=pl.col("video_duration").cast(pl.Float64).round().cast(pl.Int64),
    )


def _dated(exposures: pl.DataFrame, lists: pl.DataFrame) -> pl.DataFrame:
    """The exposures with times. Known are their order and each user's last; evenly spread until then."""
    last = pl.col("last_time_ms").fill_null(HISTORY_END_MS - 1)
    place = (pl.int_range(pl.len()).over("user_id") + 1) / pl.len().over("user_id")
    dated = exposures.join(
        lists.select("user_id", "last_time_ms"), on="user_id", how="left", maintain_order="left"
    ).with_columns(time_ms=(HISTORY_START_MS + (last - HISTORY_START_MS) * place).round().cast(pl.Int64))
    return dated.drop("pos", "last_time_ms")


def _history_of(earlier: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Exposures and lists as the history tables have them, from log rows."""
    ordered = earlier.sort("user_id", "time_ms", maintain_order=True)
    exposures = ordered.select(
        "user_id", pl.int_range(pl.len()).over("user_id").alias("pos"), "video_id", "long_view", "is_like"
    )
    lists = ordered.group_by("user_id", maintain_order=True).agg(
        pl.len().cast(pl.Int64).alias("history_len"),
        pl.col("time_ms").max().alias("last_time_ms"),
        pl.col("video_id").tail(50).alias("watch_seq"),
        pl.col("video_id").filter(pl.col("is_like") == 1).tail(50).alias("like_seq"),
        pl.col("video_id").filter(pl.col("long_view") == 1).tail(50).alias("long_watch_seq"),
    )
    return exposures, lists
