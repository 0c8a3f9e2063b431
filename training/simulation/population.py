"""Who watches and what there is to watch: the hidden state of viewers and videos, drawn from a seed.

Knows nothing about how viewers respond, nor about what of this is observed.
Shapes: U viewers, I videos, T topics, S dimensions of style.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.simulation.config import WorldConfig
from training.simulation.topics import TOPICS

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

SHORTEST_S, LONGEST_S = 5.0, 300.0
DEVICES = ("android_low", "android_high", "ios")


@dataclass(frozen=True, eq=False)
class Viewers:
    """The state of all viewers. `age`, `city_tier` and `device` are plain facts; the rest is hidden."""

    age: FloatArray  # [U] years
    city_tier: IntArray  # [U] 1 (largest) to 5
    device: IntArray  # [U] index into DEVICES
    taste: FloatArray  # [U, T] liking of a topic, mean 0 over topics
    style: FloatArray  # [U, S] unit variance
    attention: FloatArray  # [U] shift of log watch ratio
    patience: FloatArray  # [U] probability of looking at the next position
    preferred_s: FloatArray  # [U] preferred length, seconds
    activity: FloatArray  # [U] relative rate of sessions
    sharing: FloatArray  # [U] shift of the log-odds of a share
    commenting: FloatArray  # [U] shift of the log-odds of a comment
    liking: FloatArray  # [U] shift of the log-odds of a like


@dataclass(frozen=True, eq=False)
class Videos:
    """The state of all videos. `topic`, `author`, `music`, `duration_ms` and `age_days` are plain facts."""

    topic: IntArray  # [I] index into TOPICS
    author: IntArray  # [I]
    music: IntArray  # [I]
    duration_ms: IntArray  # [I]
    age_days: IntArray  # [I] whole days since upload, at the start of day 0
    mix: FloatArray  # [I, T] how much of each topic is in it, rows sum to 1
    style: FloatArray  # [I, S] unit length on average
    quality: FloatArray  # [I] standard deviations
    useful: FloatArray  # [I] shift of the log-odds of a share: useful or funny
    heat: FloatArray  # [I] shift of the log-odds of a comment: controversy
    reach: FloatArray  # [I] relative rate of being retrieved


def draw_viewers(config: WorldConfig, rng: np.random.Generator) -> Viewers:
    """Draw `config.users` viewers."""
    n = config.users
    age = np.clip(14.0 + rng.gamma(2.6, 7.0, n), 14.0, 80.0)
    city_tier = rng.choice(5, size=n, p=[0.2, 0.25, 0.25, 0.2, 0.1]).astype(np.int64) + 1
    device = rng.choice(len(DEVICES), size=n, p=[0.35, 0.4, 0.25]).astype(np.int64)
    youth = np.clip((32.0 - age) / 12.0, -2.0, 1.5)
    taste = rng.normal(0.0, 0.8, (n, config.topics))
    taste += youth[:, None] * np.array([t.youth for t in TOPICS[: config.topics]])
    taste[np.arange(n), rng.integers(0, config.topics, n)] += 1.6
    taste -= taste.mean(axis=1, keepdims=True)
    attention = rng.normal(0.0, 0.5, n) + np.array([-0.25, 0.0, 0.25])[device] + 0.08 * (city_tier - 3)
    return Viewers(
        age=age,
        city_tier=city_tier,
        device=device,
        taste=taste,
        style=rng.normal(0.0, 1.0, (n, config.styles)),
        attention=attention,
        patience=1.0 - np.clip(rng.gamma(2.0, 0.0095, n), 0.0005, 0.1),
        preferred_s=np.exp(rng.normal(np.log(22.0), 0.6, n) - 0.15 * youth),
        activity=rng.lognormal(0.0, 0.8, n),
        sharing=rng.normal(0.0, 0.8, n) + 0.15 * (city_tier - 3),
        commenting=rng.normal(0.0, 0.9, n) - 0.2 * youth,
        liking=rng.normal(0.0, 0.8, n),
    )


def draw_videos(config: WorldConfig, rng: np.random.Generator) -> Videos:
    """Draw `config.items` videos by about an eighth as many authors, each at home in one topic."""
    n = config.items
    topics = TOPICS[: config.topics]
    authors = max(1, n // 8)
    author_topic = rng.integers(0, config.topics, authors)
    author_quality = rng.normal(0.0, 0.6, authors)
    author = np.minimum((authors * rng.beta(0.8, 1.6, n)).astype(np.int64), authors - 1)
    topic = np.where(rng.random(n) < 0.85, author_topic[author], rng.integers(0, config.topics, n))
    main_share = rng.uniform(0.6, 1.0, n)
    mix = np.zeros((n, config.topics))
    np.add.at(mix, (np.arange(n), topic), main_share)
    np.add.at(mix, (np.arange(n), rng.integers(0, config.topics, n)), 1.0 - main_share)
    kind = rng.choice(3, size=n, p=[0.6, 0.3, 0.1])  # clips, stories, long videos
    length_s = np.exp(rng.normal(np.log([12.0, 40.0, 130.0])[kind], np.array([0.45, 0.45, 0.4])[kind]))
    length_s = np.clip(length_s * np.array([t.length for t in topics])[topic], SHORTEST_S, LONGEST_S)
    quality = author_quality[author] + rng.normal(0.0, 0.8, n) + np.array([t.appeal for t in topics])[topic]
    return Videos(
        topic=topic.astype(np.int64),
        author=author,
        music=(max(1, n // 5) * rng.random(n) ** 2.5).astype(np.int64),
        duration_ms=(length_s * 1000.0).astype(np.int64),
        age_days=rng.geometric(1.0 / 40.0, n).astype(np.int64) - 1,
        mix=mix,
        style=rng.normal(0.0, 1.0, (n, config.styles)) / np.sqrt(config.styles),
        quality=quality,
        useful=rng.normal(0.0, 0.7, n) + np.array([t.useful for t in topics])[topic],
        heat=rng.normal(0.0, 0.7, n) + np.array([t.heat for t in topics])[topic],
        reach=rng.lognormal(0.25 * quality, 0.7),
    )
