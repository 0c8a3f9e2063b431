"""The log of the synthetic world: sessions of requests of shown videos, and what the viewers did.

Knows nothing about how videos were chosen (a policy) or why viewers respond as they do (the world).
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from training.simulation.behaviour import TABS, Impressions
from training.simulation.config import WorldConfig
from training.simulation.policy import Policy, noisy_interest
from training.simulation.population import IntArray
from training.simulation.sessions import draw_sessions
from training.simulation.tables import items_table, users_table
from training.simulation.world import World


@dataclass(frozen=True, eq=False)
class SyntheticData:
    """A world with what an engineer would have of it: a log and two feature tables."""

    log: pl.DataFrame
    users: pl.DataFrame
    items: pl.DataFrame
    world: World


def simulate(config: WorldConfig | None = None) -> SyntheticData:
    """Draw a world, its log and its tables. Equal configs give identical frames."""
    world = World.create(config)
    return SyntheticData(simulate_log(world), users_table(world), items_table(world), world)


def simulate_log(
    world: World, rows: int | None = None, policy: Policy = noisy_interest, stream: int = 0
) -> pl.DataFrame:
    """Let viewers come, show them what `policy` picks and write down what they do.

    Args:
        world: who comes and how they respond.
        rows: impressions, rounded up to full requests; `world.config.rows` by default.
        policy: chooses the videos of each request, in order.
        stream: another number gives another log of the same world.

    Returns:
        One row an impression, in order of time_ms, which increases strictly within a session. Text:
        request_id, session_id, user_id, video_id, tab. int64: time_ms (since 1970, when the video came up),
        day (0 to days - 1) and hour (0 to 23) in which the session began, position (0 to slots - 1 in the
        request), duration_ms, play_time_ms. int8, 0 or 1: is_click, is_like, is_share, is_comment.

    Raises:
        ValueError: rows or stream out of range.
    """
    rows = world.config.rows if rows is None else rows
    if rows < 1 or stream < 0:
        raise ValueError(
            f"simulation: rows must be at least 1 and stream at least 0, got {rows} and {stream}"
        )
    rng = np.random.default_rng([world.config.seed, 4, stream])
    slots = world.config.slots
    requests = -(-rows // slots)
    sessions = draw_sessions(world, requests, rng)
    session = np.repeat(np.arange(len(sessions.user)), sessions.requests * slots)  # [N]
    request_user = np.repeat(sessions.user, sessions.requests)  # [R]
    shown = policy(world, request_user, rng)  # [R, K]
    impressions = Impressions(
        user=sessions.user[session],
        video=shown.reshape(-1),
        hour=sessions.hour[session],
        tab=sessions.tab[session],
        position=np.tile(np.arange(slots), requests),
    )
    did = world.respond(impressions, rng)
    time_ms = sessions.start_ms[session] + _elapsed(
        did.play_time_ms + rng.integers(300, 1_500, len(session)), session
    )
    return pl.DataFrame(
        {
            "request_id": _ids("r", np.repeat(np.arange(requests), slots)),
            "session_id": _ids("s", session),
            "user_id": _ids("u", impressions.user),
            "video_id": _ids("v", impressions.video),
            "time_ms": time_ms,
            "day": sessions.day[session],
            "hour": impressions.hour,
            "tab": pl.Series(TABS).gather(impressions.tab),
            "position": impressions.position,
            "duration_ms": world.videos.duration_ms[impressions.video],
            "play_time_ms": did.play_time_ms,
            "is_click": did.is_click.astype(np.int8),
            "is_like": did.is_like.astype(np.int8),
            "is_share": did.is_share.astype(np.int8),
            "is_comment": did.is_comment.astype(np.int8),
        }
    ).sort("time_ms", maintain_order=True)


def _elapsed(spent_ms: IntArray, session: IntArray) -> IntArray:
    """Time from the start of its session to each row; rows of a session lie together. [N]"""
    before = np.cumsum(spent_ms) - spent_ms
    first = np.flatnonzero(np.diff(session, prepend=-1))
    return before - before[first][session]


def _ids(prefix: str, index: IntArray) -> pl.Series:
    return prefix + pl.Series(index).cast(pl.String)
