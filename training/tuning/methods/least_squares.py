"""Least squares: a weighted sum whose prices explain the rewards of what was shown.

Start here: an additive reward is such a sum, and where it is not, this is its best straight line.
"""

from __future__ import annotations

from model.fusion import PricedTask, WeightedSum
from training.progress import Observer, silent
from training.tuning.prices import LONGEST_S, Prices, prices_of
from training.tuning.problem import Found, Problem

NAME = "least_squares"


def least_squares(problem: Problem, observer: Observer = silent) -> Found:
    """The weighted sum that explains the rewards of what was shown best."""
    del observer  # it takes a second
    return problem.found(NAME, sum_of(prices_of(problem), problem))


def sum_of(prices: Prices, problem: Problem) -> WeightedSum:
    """The scene with these prices."""
    tasks = {
        task: PricedTask(price=prices.price[task], price_per_s=prices.per_s[task]) for task in prices.price
    }
    return WeightedSum(
        tasks=tasks,
        longest_s=LONGEST_S,
        missing_s=prices.missing_s,
        calibration=problem.calibration,
    )
