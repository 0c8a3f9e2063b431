"""Viewers of a synthetic world as callers of a service over HTTP: they ask, look, watch and send feedback.

Knows the world and the HTTP contract, and nothing of how the service ranks.
"""

from training.viewers.callers import Outcome, Traffic, call
from training.viewers.feedback import Mishaps
from training.viewers.visits import Audience, Visit

__all__ = ["Audience", "Mishaps", "Outcome", "Traffic", "Visit", "call"]
