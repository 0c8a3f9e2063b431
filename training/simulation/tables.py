"""What is observed of viewers and videos: noisy functions of the hidden state, as known before day 0.

Knows nothing about the log: no column is made from a row of it, so none can leak a label.
"""

import numpy as np
import polars as pl

from training.simulation.population import DEVICES, BoolArray, FloatArray
from training.simulation.topics import TOPICS
from training.simulation.world import World

AGE_BANDS = ("under_18", "18_24", "25_34", "35_49", "50_plus")


def users_table(world: World) -> pl.DataFrame:
    """One row a viewer, in index order; U rows.

    Columns: user_id, age_band, device, city_tier, favourite_topic (text); register_days, active_days_7d
    (int64); user_watch_rate, user_like_rate, user_share_rate, user_comment_rate (float64, 0..1, estimates
    from earlier days). Null where unknown: age_band, favourite_topic and all four rates of a newcomer.
    """
    rng = np.random.default_rng([world.config.seed, 2])
    c, viewers = world.config.response, world.viewers
    n = world.config.users
    # The declared favourite is often right, and otherwise any topic.
    favourite = np.where(
        rng.random(n) < 0.65, viewers.taste.argmax(axis=1), rng.integers(0, world.config.topics, n)
    )
    newcomer = rng.random(n) < 0.08
    register_days = np.where(newcomer, rng.integers(0, 7, n), 7 + rng.gamma(1.5, 250.0, n).astype(np.int64))
    active_days = rng.binomial(7, 1.0 - np.exp(-0.6 * viewers.activity))
    active_days = np.minimum(active_days, np.maximum(1, register_days))
    band = np.digitize(viewers.age, [18.0, 25.0, 35.0, 50.0])
    return pl.DataFrame(
        {
            "user_id": world.user_ids,
            "age_band": _text(AGE_BANDS, band, unknown=rng.random(n) < 0.05),
            "device": _text(DEVICES, viewers.device),
            "city_tier": _text(tuple(f"tier_{k}" for k in range(1, 6)), viewers.city_tier - 1),
            "register_days": register_days,
            "favourite_topic": _text([t.name for t in TOPICS], favourite, unknown=rng.random(n) < 0.15),
            "active_days_7d": active_days,
            "user_watch_rate": _rate(rng, -0.2 + 1.1 * viewers.attention, 0.35, newcomer),
            "user_like_rate": _rate(rng, c.like_base + viewers.liking, 0.5, newcomer),
            "user_share_rate": _rate(rng, c.share_base + viewers.sharing, 0.6, newcomer),
            "user_comment_rate": _rate(rng, c.comment_base + viewers.commenting, 0.6, newcomer),
        },
        schema_overrides={"register_days": pl.Int64, "active_days_7d": pl.Int64},
    )


def items_table(world: World) -> pl.DataFrame:
    """One row a video, in index order; I rows.

    Columns: video_id, topic, author_id, music_id, title (text); tags (lists of text: the topics that make a
    good part of the video, the largest first); duration_ms, upload_days_ago, video_views (int64);
    video_watch_rate, video_share_rate, video_comment_rate (float64, 0..1, estimates from earlier days, null
    for a video uploaded less than two days ago).
    """
    rng = np.random.default_rng([world.config.seed, 3])
    c, videos = world.config.response, world.videos
    n = world.config.items
    young = videos.age_days < 2
    seconds = videos.duration_ms / 1000.0
    # Each view shows up late and some never do: popularity is a hint of reach, not reach.
    views = videos.reach * (1.0 + videos.age_days) * 40.0 * rng.lognormal(0.0, 0.6, n)
    watch = 0.8 * videos.quality + c.heat * videos.heat + c.length * np.log(seconds / 20.0)
    return pl.DataFrame(
        {
            "video_id": world.video_ids,
            "topic": _text([t.name for t in TOPICS], videos.topic),
            "tags": _tags(world),
            "author_id": [f"a{k}" for k in videos.author.tolist()],
            "music_id": [f"m{k}" for k in videos.music.tolist()],
            "duration_ms": videos.duration_ms,
            "upload_days_ago": videos.age_days,
            "video_views": views.astype(np.int64),
            "video_watch_rate": _rate(rng, watch, 0.5, young),
            "video_share_rate": _rate(rng, c.share_base + videos.useful, 0.6, young),
            "video_comment_rate": _rate(rng, c.comment_base + videos.heat, 0.6, young),
            "title": _titles(world, rng),
        }
    )


def _text(
    names: tuple[str, ...] | list[str], index: np.ndarray, unknown: BoolArray | None = None
) -> pl.Series:
    """The name at each index, null where unknown."""
    values = pl.Series(list(names)).gather(index)
    return values if unknown is None else values.set(pl.Series(unknown), None)


def _rate(rng: np.random.Generator, log_odds: FloatArray, noise: float, unknown: BoolArray) -> pl.Series:
    """A rate as estimated from few observations, to five digits; null where unknown."""
    seen = 1.0 / (1.0 + np.exp(-(log_odds + rng.normal(0.0, noise, len(log_odds)))))
    return pl.Series(np.round(seen, 5)).set(pl.Series(unknown), None)


def _tags(world: World) -> list[list[str]]:
    """Topics of at least a fifth of the video."""
    mix = world.videos.mix
    largest = np.argsort(-mix, axis=1, kind="stable")[:, :3]
    return [
        [TOPICS[topic].name for topic in row if shares[topic] >= 0.2]
        for row, shares in zip(largest.tolist(), mix.tolist(), strict=True)
    ]


def _titles(world: World, rng: np.random.Generator) -> list[str]:
    videos = world.videos
    picks = rng.random(world.config.items)
    titles = []
    for t, length_ms, pick in zip(
        videos.topic.tolist(), videos.duration_ms.tolist(), picks.tolist(), strict=True
    ):
        topic = TOPICS[t]
        subject = topic.subjects[int(pick * len(topic.subjects))]
        titles.append(f"{topic.name} · {subject} in {round(length_ms / 1000)} s")
    return titles
