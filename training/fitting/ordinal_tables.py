"""Fitting an ordinal head's thresholds: the tables that `model.network.thresholds` reads, from training rows.

Knows labels and encoded lengths, and neither networks nor how training goes.

Shapes: R rows, M thresholds, L bins of length.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tables:
    """What `Thresholds` holds, and how often each threshold is reached.

    Attributes:
        edges: [L - 1], rising; infinite where there are fewer bins.
        floor: [L, 1].
        steps: [L, M].
        reached: [L, M]; infinite where a threshold is not in use.
        rates: share of rows that reach the m-th threshold of their bin, [M]; NaN where no bin uses it.
    """

    edges: _Floats
    floor: _Floats
    steps: _Floats
    reached: _Floats
    rates: _Floats


def fit_tables(labels: _Floats, lengths: _Floats, thresholds: int, bins: int) -> Tables:
    """Cut lengths into bins of about as many rows, and each bin's labels at their quantiles.

    Args:
        labels: of the task's own rows, [R].
        lengths: as they are encoded, [R].
        thresholds: M.
        bins: L.
    """
    edges = _edges(lengths, bins)
    floor, steps = np.zeros((bins, 1), np.float32), np.zeros((bins, thresholds), np.float32)
    reached = np.full((bins, thresholds), np.inf, np.float32)
    place = np.searchsorted(edges, lengths, side="right")
    for number in np.unique(place):
        inside = np.sort(labels[place == number])
        cuts = inside[np.arange(1, thresholds + 1) * len(inside) // (thresholds + 1)]
        # A quantile that the one before it has asked for already, or that every label reaches, asks nothing.
        used = np.diff(cuts, prepend=inside[0]) > 0
        cell = np.searchsorted(cuts[used], inside, side="right")
        means = np.bincount(cell, inside.astype(np.float64)) / np.bincount(cell)
        floor[number], steps[number, used] = means[0], np.diff(means)
        reached[number, used] = cuts[used]
    asked = np.isfinite(reached)[place]
    told = (labels[:, None] >= reached[place]).sum(axis=0)
    with np.errstate(invalid="ignore"):
        rates = told / asked.sum(axis=0)
    return Tables(edges, floor, steps, reached, rates.astype(np.float32))


def _edges(lengths: _Floats, bins: int) -> _Floats:
    """Edges between neighbouring lengths, so that rounding puts none on the other side."""
    ordered = np.sort(lengths).astype(np.float64)
    edges = set()
    for number in range(1, bins):
        first = np.searchsorted(ordered, ordered[number * len(ordered) // bins])
        if first > 0:
            edges.add(np.float32((ordered[first - 1] + ordered[first]) / 2.0))
    padded = np.full(bins - 1, np.inf, np.float32)
    padded[: len(edges)] = sorted(edges)
    return padded
