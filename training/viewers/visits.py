"""Visits: who asks for a ranking of which videos, and what they do with what they are shown.

All chance depends on the world, a seed and the visit's number, whatever was answered before and elsewhere:
two services meet the same visits, and a viewer who is shown a video by both does the same with it. Knows
nothing of HTTP.

Shapes: P candidates of a visit, K videos shown, F kinds of chance.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.simulation import Behaviour, Impressions, World
from training.simulation.policy import retrieve
from training.simulation.population import FloatArray, IntArray
from training.simulation.sessions import draw_sessions

_BLOCK = 4_096
"""Visits drawn at a time: bounds memory. Sessions end with it."""
_VISITS, _RESPONSES, _MISHAPS = 5, 6, 7
"""Streams of chance, beside those of the world (0 to 3) and of its logs (4)."""


@dataclass(frozen=True, eq=False)
class Visit:
    """A request for a ranking; users and videos are indices into the world."""

    number: int
    user: int
    hour: int
    tab: int
    candidates: IntArray
    """Distinct, ascending [P]."""


@dataclass(frozen=True, eq=False)
class Watched:
    """What came of what was shown.

    Attributes:
        did: what the viewer did with each video, in the order shown.
        expected: planted reward that these videos have at these positions, in all.
        realised: planted reward of what the viewer did, in all.
    """

    did: Behaviour
    expected: float
    realised: float


class Audience:
    """The viewers of a world.

    Args:
        world: whose viewers come.
        seed: another one gives other visits of the same viewers.
    """

    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.seed = seed

    def visits(self, count: int) -> Iterator[Visit]:
        """The first visits, session by session; a larger number begins with the same ones."""
        for first in range(0, count, _BLOCK):
            rng = self._rng(_VISITS, first // _BLOCK)
            sessions = draw_sessions(self.world, _BLOCK, rng)
            pools, repeated = retrieve(self.world, _BLOCK, rng)
            session = np.repeat(np.arange(len(sessions.user)), sessions.requests)[: count - first]
            for place, s in enumerate(session.tolist()):
                candidates = pools[place][~repeated[place]]
                user, hour, tab = (int(column[s]) for column in (sessions.user, sessions.hour, sessions.tab))
                yield Visit(first + place, user, hour, tab, candidates)

    def watch(self, visit: Visit, shown: IntArray) -> Watched:
        """What the viewer does with some of the candidates, shown in this order [K]."""
        place = np.searchsorted(visit.candidates, shown)
        position = np.zeros(len(visit.candidates), np.int64)
        position[place] = np.arange(len(shown))
        # All candidates draw, so that nobody's luck depends on who else is shown.
        all_did = self.world.respond(
            self._rows(visit, visit.candidates, position), self._rng(_RESPONSES, visit.number)
        )
        did = Behaviour(**{name: values[place] for name, values in vars(all_did).items()})
        rows = self._rows(visit, shown, np.arange(len(shown)))
        expected = self.world.expect(rows).reward.sum()
        return Watched(did, float(expected), float(self.world.reward(rows, did).sum()))

    def chances(self, visit: Visit, shown: IntArray, kinds: int) -> FloatArray:
        """Uniform numbers of each video shown, for what befalls its feedback: [K, F]."""
        drawn = self._rng(_MISHAPS, visit.number).random((len(visit.candidates), kinds))
        return drawn[np.searchsorted(visit.candidates, shown)]

    def _rows(self, visit: Visit, videos: IntArray, position: IntArray) -> Impressions:
        def same(value: int) -> IntArray:
            return np.full(len(videos), value, np.int64)

        return Impressions(same(visit.user), videos, same(visit.hour), same(visit.tab), position)

    def _rng(self, stream: int, number: int) -> np.random.Generator:
        return np.random.default_rng([self.world.config.seed, stream, self.seed, number])
