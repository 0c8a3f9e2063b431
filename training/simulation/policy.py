"""Which videos a request shows: the policy that logged the data. Another one may take its place.

Knows nothing about how viewers respond to what they are shown.
Shapes: R requests, P candidates retrieved, K slots.
"""

from collections.abc import Callable

import numpy as np

from training.simulation.behaviour import interest
from training.simulation.population import BoolArray, IntArray
from training.simulation.world import World

Policy = Callable[[World, IntArray, np.random.Generator], IntArray]
"""(world, users [R], generator) -> distinct videos by position [R, K]."""

_BLOCK = 4_096  # requests scored at once: bounds memory


def noisy_interest(world: World, users: IntArray, rng: np.random.Generator) -> IntArray:
    """Retrieve by reach, then draw without replacement in proportion to exp(skill * interest).

    The draw is a Gumbel top-k, so every retrieved candidate has a chance of every position.
    """
    blocks = [_block(world, users[k : k + _BLOCK], rng) for k in range(0, len(users), _BLOCK)]
    return np.concatenate(blocks) if blocks else np.empty((0, world.config.slots), dtype=np.int64)


def retrieve(world: World, requests: int, rng: np.random.Generator) -> tuple[IntArray, BoolArray]:
    """Candidates by reach [R, P], each row sorted, and whether one repeats the one before it."""
    reach = np.cumsum(world.videos.reach)
    pool = np.empty((requests, world.config.pool), dtype=np.int64)
    repeated = np.zeros(pool.shape, dtype=np.bool_)
    short = np.arange(requests)
    while len(short):  # a tiny catalogue may need several draws to fill a request
        draws = rng.random((len(short), world.config.pool)) * reach[-1]
        pool[short] = np.sort(np.searchsorted(reach, draws, side="right"), axis=1)
        repeated[short, 1:] = pool[short, 1:] == pool[short, :-1]
        short = short[(~repeated[short]).sum(axis=1) < world.config.slots]
    return pool, repeated


def _block(world: World, users: IntArray, rng: np.random.Generator) -> IntArray:
    config = world.config
    pool, repeated = retrieve(world, len(users), rng)
    liked = interest(world.viewers, world.videos, users[:, None], pool, config.response)
    score = config.policy_skill * liked + rng.gumbel(size=pool.shape)
    score = np.where(repeated, -np.inf, score)
    return np.take_along_axis(pool, np.argsort(-score, axis=1)[:, : config.slots], axis=1)
