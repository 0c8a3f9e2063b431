"""Methods: from a problem to the best fusion that each of them finds."""

from collections.abc import Callable, Mapping

from training.progress import Observer
from training.tuning.forms import SEARCHED
from training.tuning.methods.least_squares import least_squares
from training.tuning.methods.pairwise import pairwise
from training.tuning.methods.sampling import cma_es, grid, nsga2, random, tpe
from training.tuning.methods.trees import lambdarank, trees
from training.tuning.problem import Found, Problem

Method = Callable[[Problem, Observer], Found]

METHODS: Mapping[str, Method] = {
    "least_squares": least_squares,
    "pairwise": pairwise,
    "cma_es": cma_es,
    "tpe": tpe,
    "random": random,
    "grid": grid,
    "nsga2": nsga2,
    "trees": trees,
    "lambdarank": lambdarank,
}
"""By name, in the order in which they are tried."""

AUTO = ("least_squares", "pairwise", "cma_es", "trees")
"""What `auto` tries."""

FORMULAS: Mapping[str, tuple[str, ...]] = {
    "least_squares": ("weighted_sum",),
    "pairwise": ("log_power",),
    "cma_es": SEARCHED,
    **dict.fromkeys(("tpe", "random", "grid", "nsga2"), SEARCHED),
    "trees": ("model",),
    "lambdarank": ("model",),
}
"""By method: formulas that it finds, one of which the problem names where there are several."""

__all__ = ["AUTO", "FORMULAS", "METHODS", "Found", "Method", "Problem"]
