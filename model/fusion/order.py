"""The order of candidates: which k come first.

Knows scores as numbers only; nothing of formulas, ids or responses.
"""

import numpy as np
from numpy.typing import NDArray

from model.fusion.lengths import Floats

_FEW = 1_000
"""Candidates that are sorted sooner than the best of them are selected."""


def top_k(log_score: Floats, k: int) -> NDArray[np.int64]:
    """Indices of the k highest log-scores [N], best first -> [min(k, N)] int64.

    Ties keep input order, at the cut too, so top_k(x, k) begins top_k(x, k + 1). NaN ranks with -infinity.
    Of many, selects in O(N) and sorts only what it selected. Raises ValueError for a negative k.
    """
    if k < 0:
        raise ValueError(f"k is {k}; expected 0 or more")
    if k == 0:
        return np.empty(0, dtype=np.int64)
    cost = np.where(np.isnan(log_score), np.inf, -log_score)  # [N], lowest is best
    if k >= len(cost) or len(cost) <= _FEW:
        return np.argsort(cost, kind="stable")[:k].astype(np.int64)
    cut = np.partition(cost, k - 1)[k - 1]
    better, tied = np.flatnonzero(cost < cut), np.flatnonzero(cost == cut)
    chosen = np.concatenate([better, tied[: k - len(better)]])  # [k]
    return chosen[np.argsort(cost[chosen], kind="stable")].astype(np.int64)
