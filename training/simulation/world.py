"""The synthetic world: its people and videos by id, and what would happen if one met the other.

Knows nothing about logs, observed tables or policies.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from training.simulation import behaviour
from training.simulation.behaviour import TABS, Behaviour, Impressions, Truth
from training.simulation.config import WorldConfig
from training.simulation.population import FloatArray, IntArray, Videos, Viewers, draw_videos, draw_viewers


@dataclass(frozen=True, eq=False)
class World:
    """Hidden viewers and videos, and their response model. Viewer 12 is "u12", video 345 is "v345"."""

    config: WorldConfig
    viewers: Viewers
    videos: Videos

    @classmethod
    def create(cls, config: WorldConfig | None = None) -> "World":
        """Draw a world from `config.seed`."""
        config = config or WorldConfig()
        return cls(
            config=config,
            viewers=draw_viewers(config, np.random.default_rng([config.seed, 0])),
            videos=draw_videos(config, np.random.default_rng([config.seed, 1])),
        )

    @cached_property
    def user_ids(self) -> tuple[str, ...]:
        """All user ids, in index order."""
        return tuple(f"u{k}" for k in range(self.config.users))

    @cached_property
    def video_ids(self) -> tuple[str, ...]:
        """All video ids, in index order."""
        return tuple(f"v{k}" for k in range(self.config.items))

    def impressions(
        self,
        user_ids: str | Sequence[str],
        video_ids: str | Sequence[str],
        position: int | Sequence[int] | IntArray | None = None,
        hour: int | Sequence[int] | IntArray = 20,
        tab: str | Sequence[str] = "feed",
    ) -> Impressions:
        """Rows by id. Any argument may be one value for all rows or one value a row.

        Raises:
            ValueError: an id or tab that the world has not, an hour outside 0..23, a negative position,
                or arguments of different lengths.
        """
        columns = {
            "user_ids": _lookup("user", user_ids, self._user_index),
            "video_ids": _lookup("video", video_ids, self._video_index),
            "hour": np.atleast_1d(np.asarray(hour, dtype=np.int64)),
            "tab": _lookup("tab", tab, {name: k for k, name in enumerate(TABS)}),
            "position": np.atleast_1d(np.asarray(0 if position is None else position, dtype=np.int64)),
        }
        n = max((len(c) for c in columns.values()), default=0)
        n = 0 if any(len(c) == 0 for c in columns.values()) else n
        for name, column in columns.items():
            if len(column) not in (1, n):
                raise ValueError(
                    f"world: {name} has {len(column)} values where others have {n}; give 1 or {n}"
                )
        if ((columns["hour"] < 0) | (columns["hour"] > 23)).any():
            raise ValueError(f"world: hour must be 0 to 23, got {columns['hour'].tolist()[:5]}")
        if (columns["position"] < 0).any():
            raise ValueError("world: position counts from 0; None asks for a viewer who looks for certain")
        full = {name: np.broadcast_to(column, (n,)) for name, column in columns.items()}
        return Impressions(
            user=full["user_ids"],
            video=full["video_ids"],
            hour=full["hour"],
            tab=full["tab"],
            position=None if position is None else full["position"],
        )

    def truth(
        self,
        user_ids: str | Sequence[str],
        video_ids: str | Sequence[str],
        position: int | Sequence[int] | IntArray | None = None,
        hour: int | Sequence[int] | IntArray = 20,
        tab: str | Sequence[str] = "feed",
    ) -> Truth:
        """What to expect of these impressions; arguments and errors as for `impressions`.

        Without a position the viewer looks for certain: the truth freed of position bias, by which the best
        possible ranking orders.
        """
        return self.expect(self.impressions(user_ids, video_ids, position, hour, tab))

    def expect(self, rows: Impressions) -> Truth:
        """What to expect of rows given by index."""
        c = self.config
        return behaviour.expect(self.viewers, self.videos, rows, c.response, c.reward)

    def respond(self, rows: Impressions, rng: np.random.Generator) -> Behaviour:
        """Draw what the viewers do with rows given by index."""
        return behaviour.sample(self.viewers, self.videos, rows, self.config.response, rng)

    def reward(self, rows: Impressions, did: Behaviour) -> FloatArray:
        """The planted reward of what the viewers did with rows given by index, [N]."""
        return behaviour.realised(self.videos, rows.video, did, self.config.reward)

    @cached_property
    def _user_index(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.user_ids)}

    @cached_property
    def _video_index(self) -> dict[str, int]:
        return {name: k for k, name in enumerate(self.video_ids)}


def _lookup(what: str, names: str | Sequence[str], index: dict[str, int]) -> IntArray:
    names = [names] if isinstance(names, str) else names
    try:
        return np.array([index[name] for name in names], dtype=np.int64)
    except KeyError as missing:
        first, last = next(iter(index)), next(reversed(index))
        raise ValueError(f"world: no {what} {missing.args[0]!r}; there are {first} to {last}") from None
