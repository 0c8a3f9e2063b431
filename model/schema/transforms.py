"""Transforms of numbers before they are standardised, by the name that a numeric feature's `transform` gives.

To add one, write its entry in `TRANSFORMS`. Knows nothing of features, missing values or files.

Shapes: V values, K numbers that a transform learns.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_QUANTILES = 257


class Transform(NamedTuple):
    """A function of numbers that keeps their order.

    Attributes:
        apply: takes finite values [V] and what `fit` learned [K], None where it saw no value -> [V].
        fit: takes the values of the training split [V] -> [K]; None where there is nothing to learn.
    """

    apply: Callable[[Floats, Sequence[float] | None], Floats]
    fit: Callable[[Floats], list[float]] | None = None


def _to_normal(numbers: Floats, fitted: Sequence[float] | None) -> Floats:
    """Rank among the quantiles, mapped onto a normal deviate by the logistic approximation.

    Where several quantiles are equal, the rank is the middle of their run: interpolation from both ends.
    """
    if fitted is None:
        return numbers
    quantiles = np.asarray(fitted)
    grid = np.linspace(0.0, 1.0, len(quantiles))
    from_left = np.interp(numbers, quantiles, grid)
    from_right = 1.0 - np.interp(-numbers, -quantiles[::-1], grid)
    rank = np.clip((from_left + from_right) / 2.0, 1e-3, 1.0 - 1e-3)
    return np.log(rank / (1.0 - rank)) / 1.702


TRANSFORMS = {
    "none": Transform(lambda x, _: x),
    "log1p": Transform(lambda x, _: np.sign(x) * np.log1p(np.abs(x))),
    "quantile": Transform(_to_normal, lambda x: np.quantile(x, np.linspace(0.0, 1.0, _QUANTILES)).tolist()),
}
"""All of them; docs/recipes.md describes each."""

if TYPE_CHECKING:
    TransformName = str
else:
    TransformName = Literal[tuple(TRANSFORMS)]
