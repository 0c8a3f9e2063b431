"""The catalogue of topics: what each is like to watch, share and argue about, and what its videos are called.

Knows nothing about viewers or randomness.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Topic:
    """One topic and the mean traits of its videos (standard deviations unless said otherwise)."""

    name: str
    appeal: float
    """Shift of quality."""
    useful: float
    """Shift of what makes viewers share: useful or funny."""
    heat: float
    """Shift of what makes viewers comment: controversy."""
    length: float
    """Factor on the length of its videos."""
    youth: float
    """How much more the young like it, in units of taste."""
    subjects: tuple[str, ...]
    """What its titles are about."""


TOPICS: tuple[Topic, ...] = (
    Topic(
        "cooking", 0.1, 0.9, -0.5, 1.2, -0.3, ("noodles", "bread", "dumplings", "tomato soup", "plum cake")
    ),
    Topic(
        "football", 0.2, -0.4, 0.7, 0.8, 0.1, ("a late winner", "free kicks", "the derby", "a keeper's day")
    ),
    Topic(
        "cats", 0.4, 0.4, -0.6, 0.6, 0.1, ("a cat and a box", "kittens", "the window seat", "a bath, refused")
    ),
    Topic(
        "gaming", 0.1, -0.6, 0.2, 1.5, 0.7, ("a speed run", "the last boss", "hidden rooms", "a co-op fail")
    ),
    Topic(
        "dance", 0.2, -0.3, -0.3, 0.6, 0.6, ("a street routine", "two-step", "tango basics", "a flash mob")
    ),
    Topic("news", -0.4, 0.1, 1.3, 1.3, -0.6, ("the budget", "rent and wages", "the vote", "a new tram line")),
    Topic("travel", 0.0, 0.3, -0.5, 1.1, -0.2, ("night trains", "a lake hut", "old Lisbon", "desert stars")),
    Topic("beauty", 0.0, 0.3, 0.0, 1.2, 0.4, ("a short haircut", "winter skin", "one lipstick", "curls")),
    Topic(
        "cars", -0.1, -0.3, 0.5, 1.2, -0.1, ("an engine swap", "a first electric", "drifting", "rust repair")
    ),
    Topic("science", -0.2, 0.7, 0.1, 1.7, -0.1, ("black holes", "slime moulds", "why ice floats", "tides")),
    Topic(
        "comedy", 0.3, 0.7, 0.1, 0.8, 0.2, ("office excuses", "a bad date", "my landlord", "family dinner")
    ),
    Topic("fitness", -0.2, 0.4, -0.2, 1.0, 0.0, ("push-ups", "a stiff back", "10 km", "stretching")),
)
