"""Methods: from a problem to the best fusion that each of them finds."""

from collections.abc import Callable, Mapping

from training.progress import Observer
from training.tuning.methods.least_squares import least_squares
from training.tuning.problem import Found, Problem

Method = Callable[[Problem, Observer], Found]

METHODS: Mapping[str, Method] = {
    "least_squares": least_squares,
}
"""By name, in the order in which they are tried."""

FORMULAS: Mapping[str, tuple[str, ...]] = {
    "least_squares": ("weighted_sum",),
}
"""By method: formulas that it finds, one of which the problem names where there are several."""

__all__ = ["FORMULAS", "METHODS", "Found", "Method", "Problem"]
