"""How viewers respond to an impression: its expectation (the truth) and draws from it.

Knows nothing about who chose the video or what a table shows of either side.
Impressions are independent of each other given viewer, video and context. Shapes: N impressions.

A viewer looks at position k with probability `patience ** k`; who does not look leaves no trace. Who looks
swipes on at once with probability `bounce`, or watches a log-normal share of the video, cut at `replay_cap`.
A click is independent of that; play time above 0 or a click is an entry. Shares, comments and likes happen
only after an entry, and given viewer and video do not depend on how long it was.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.simulation.config import ResponseConfig
from training.simulation.population import BoolArray, FloatArray, IntArray, Videos, Viewers
from training.simulation.reward import Reward

TABS: Final = ("feed", "discover", "friends")
_TAB_WATCH: Final = np.array([0.0, -0.35, 0.2])
_TAB_CLICK: Final = np.array([0.0, 0.8, 0.2])
WATCHED_MS: Final = 7_000
"""A view passes when it lasts this long, or to the end of a shorter video."""

_GRID: Final = np.linspace(-8.0, 8.0, 16_001)
_GRID_CDF: Final = np.array([0.5 * math.erfc(-x / math.sqrt(2.0)) for x in _GRID])


@dataclass(frozen=True, eq=False)
class Impressions:
    """Rows to respond to: indices of viewers and videos, and the context."""

    user: IntArray  # [N] index into Viewers
    video: IntArray  # [N] index into Videos
    hour: IntArray  # [N] 0..23
    tab: IntArray  # [N] index into TABS
    position: IntArray | None  # [N] from 0; None: the viewer looks for certain


@dataclass(frozen=True, eq=False)
class Truth:
    """Expectations of impressions. `vcr`, `shr`, `cmr` and `like` are given entry, the others of any row."""

    examined: FloatArray  # [N] probability of looking
    entered: FloatArray  # [N] probability of play time above 0 or a click
    vtr: FloatArray  # [N] probability of play time >= min(duration, 7 s)
    vcr: FloatArray  # [N] mean watched share of the video, 0..1
    shr: FloatArray  # [N] probability of a share
    cmr: FloatArray  # [N] probability of a comment
    like: FloatArray  # [N] probability of a like
    watch_s: FloatArray  # [N] mean seconds watched, replays included
    reward: FloatArray  # [N] mean planted reward


@dataclass(frozen=True, eq=False)
class Behaviour:
    """What the viewers did."""

    play_time_ms: IntArray  # [N]
    is_click: BoolArray  # [N]
    is_share: BoolArray  # [N]
    is_comment: BoolArray  # [N]
    is_like: BoolArray  # [N]


@dataclass(frozen=True, eq=False)
class _Chances:
    """What both the truth and a draw are made from."""

    examined: FloatArray  # [N]
    log_ratio: FloatArray  # [N] mean log watch ratio
    click: FloatArray  # [N] given looking
    share: FloatArray  # [N] given entry
    comment: FloatArray  # [N] given entry
    like: FloatArray  # [N] given entry


def interest(
    viewers: Viewers, videos: Videos, user: IntArray, video: IntArray, c: ResponseConfig
) -> FloatArray:
    """How much a video draws a viewer, in log watch ratio; `user` and `video` broadcast."""
    taste = np.einsum("...t,...t->...", viewers.taste[user], videos.mix[video])
    style = np.einsum("...s,...s->...", viewers.style[user], videos.style[video])
    return np.asarray(c.taste * taste + c.style * style + c.quality * videos.quality[video], dtype=np.float64)


def expect(viewers: Viewers, videos: Videos, rows: Impressions, c: ResponseConfig, worth: Reward) -> Truth:
    """The exact expectations of `rows` (up to 1 ms of rounding), in closed form."""
    chances = _chances(viewers, videos, rows, c)
    seconds = videos.duration_ms[rows.video] / 1000.0
    needed = np.minimum(1.0, WATCHED_MS / videos.duration_ms[rows.video])
    plays = chances.examined * (1.0 - c.bounce)
    entered = chances.examined * (1.0 - c.bounce * (1.0 - chances.click))
    vtr = plays * _normal_cdf((chances.log_ratio - np.log(needed)) / c.watch_noise)
    # Looking cancels out of everything that is given entry, which keeps it defined where nobody looks.
    completion = _mean_capped(chances.log_ratio, c.watch_noise, 1.0)
    vcr = completion * (1.0 - c.bounce) / (1.0 - c.bounce * (1.0 - chances.click))
    watch_s = plays * seconds * _mean_capped(chances.log_ratio, c.watch_noise, c.replay_cap)
    reward = worth.expected(entered, watch_s, vcr, chances.share, chances.comment)
    return Truth(
        examined=chances.examined,
        entered=entered,
        vtr=vtr,
        vcr=vcr,
        shr=chances.share,
        cmr=chances.comment,
        like=chances.like,
        watch_s=watch_s,
        reward=reward,
    )


def sample(
    viewers: Viewers, videos: Videos, rows: Impressions, c: ResponseConfig, rng: np.random.Generator
) -> Behaviour:
    """Draw one response to each row."""
    chances = _chances(viewers, videos, rows, c)
    n = len(rows.user)
    looks = rng.random(n) < chances.examined
    plays = looks & (rng.random(n) >= c.bounce)
    ratio = np.minimum(np.exp(rng.normal(chances.log_ratio, c.watch_noise)), c.replay_cap)
    played_ms = np.maximum(1, (ratio * videos.duration_ms[rows.video]).astype(np.int64))
    is_click = looks & (rng.random(n) < chances.click)
    entered = plays | is_click
    return Behaviour(
        play_time_ms=np.where(plays, played_ms, 0),
        is_click=is_click,
        is_share=entered & (rng.random(n) < chances.share),
        is_comment=entered & (rng.random(n) < chances.comment),
        is_like=entered & (rng.random(n) < chances.like),
    )


def realised(videos: Videos, video: IntArray, did: Behaviour, worth: Reward) -> FloatArray:
    """The planted reward of what viewers did with `video` [N]; its expectation is the truth's `reward`."""
    completion = np.minimum(did.play_time_ms / videos.duration_ms[video], 1.0)
    entered = (did.play_time_ms > 0) | did.is_click
    return worth.realised(
        entered, did.play_time_ms.astype(np.float64), completion, did.is_share, did.is_comment
    )


def _chances(viewers: Viewers, videos: Videos, rows: Impressions, c: ResponseConfig) -> _Chances:
    u, v = rows.user, rows.video
    drawn = interest(viewers, videos, u, v, c)
    seconds = videos.duration_ms[v] / 1000.0
    log_ratio = (
        c.watch_base
        + drawn
        + viewers.attention[u]
        + c.heat * videos.heat[v]
        + c.length * np.log(seconds / 20.0)
        + c.misfit * np.log(seconds / viewers.preferred_s[u]) ** 2
        + c.evening * np.cos((rows.hour - 21) * (2.0 * np.pi / 24.0))
        + _TAB_WATCH[rows.tab]
    )
    looked = np.ones(len(u)) if rows.position is None else viewers.patience[u] ** rows.position
    return _Chances(
        examined=looked,
        log_ratio=log_ratio,
        click=_sigmoid(c.click_base + 0.7 * drawn + _TAB_CLICK[rows.tab]),
        share=_sigmoid(c.share_base + viewers.sharing[u] + videos.useful[v]),
        comment=_sigmoid(c.comment_base + viewers.commenting[u] + videos.heat[v]),
        like=_sigmoid(c.like_base + viewers.liking[u] + 0.9 * drawn),
    )


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(-x)), dtype=np.float64)


def _normal_cdf(x: FloatArray) -> FloatArray:
    """The standard normal distribution function within 4e-8: a table, since NumPy has none."""
    return np.asarray(np.interp(x, _GRID, _GRID_CDF), dtype=np.float64)


def _mean_capped(mean_log: FloatArray, noise: float, cap: float) -> FloatArray:
    """The mean of `min(w, cap)` for log-normal `w`."""
    distance = (math.log(cap) - mean_log) / noise
    below = np.exp(mean_log + noise**2 / 2.0) * _normal_cdf(distance - noise)
    return np.asarray(below + cap * _normal_cdf(-distance), dtype=np.float64)
