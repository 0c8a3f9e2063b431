"""A synthetic short-video world from one seed: a data set with a known truth, and viewers to tune against.

Knows nothing about networks, encoders or fusion; it makes tables and answers what would have happened.
"""

from training.simulation.behaviour import Behaviour, Impressions, Truth
from training.simulation.config import ResponseConfig, WorldConfig
from training.simulation.log import SyntheticData, simulate, simulate_log
from training.simulation.policy import Policy, noisy_interest
from training.simulation.reward import AdditiveReward, ComplementaryReward
from training.simulation.tables import items_table, users_table
from training.simulation.world import World

__all__ = [
    "AdditiveReward",
    "Behaviour",
    "ComplementaryReward",
    "Impressions",
    "Policy",
    "ResponseConfig",
    "SyntheticData",
    "Truth",
    "World",
    "WorldConfig",
    "items_table",
    "noisy_interest",
    "simulate",
    "simulate_log",
    "users_table",
]
