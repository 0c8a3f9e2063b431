"""Predicted: what the network says of one request's candidates, before any formula.

Knows neither scores nor answers. Shapes: N candidates, S of them scored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.contract.query import Query
from service.control.snapshot import Snapshot


@dataclass(frozen=True, slots=True, eq=False)
class Predicted:
    """A request with its predictions: all that a formula takes.

    Attributes:
        query: what was asked.
        snapshot: whose network predicted.
        scored: indices of the scored among the candidates, ascending [S].
        predictions: by task [S].
        video_len_s: of the candidates, seconds, NaN where unknown [N].
        default: whether the store lacks the user or the candidate [N].
    """

    query: Query
    snapshot: Snapshot
    scored: npt.NDArray[np.int64]
    predictions: Mapping[str, npt.NDArray[np.float32]]
    video_len_s: npt.NDArray[np.float64]
    default: npt.NDArray[np.bool_]


OnPredicted = Callable[[Predicted], None]
"""Called with each ranked request, in the thread that computes it: must be quick, and must not fail."""
