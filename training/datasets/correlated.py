"""Two regressions of a chosen correlation, by the generator of Ma et al., Multi-gate Mixture-of-Experts (KDD
2018, section 3.2), which the PLE paper takes up (Tang et al., RecSys 2020). Needs no files.

With u_1, u_2 orthogonal unit vectors, c a scale and p the correlation,

    w_1 = c u_1        w_2 = c (p u_1 + sqrt(1 - p^2) u_2)
    y_k = w_k x + sum over i of sin(a_i w_k x + b_i) + noise

so p is the cosine similarity of the two weight vectors; the labels' own correlation rises with it, and is 1
but for the noise at p = 1. x, the u, a, b and the noise depend on the seed and not on p: settings that differ
in p alone differ in the second label alone, row by row. The labels are standardised.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
from pydantic import Field

from model.frozen import Frozen
from model.schema import Schema
from training.datasets.reader import reader
from training.datasets.source import LogSource

DIMENSION = 100
"""Inputs, x0 to x99, each standard normal."""


class CorrelatedOptions(Frozen):
    """`data.options` of the reader `correlated`."""

    correlation: float = Field(default=0.5, ge=-1.0, le=1.0)
    """p, the cosine similarity of the two tasks' weight vectors."""
    rows: int = Field(default=60_000, ge=100)
    """Impressions."""
    scale: float = Field(default=3.0, gt=0.0)
    """c, the deviation of the linear part: the larger, the more turns of the sines it runs through."""
    terms: int = Field(default=4, ge=0)
    """Sines in each label; frequencies a and phases b are standard normal, and the same in both labels."""
    noise: float = Field(default=0.1, ge=0.0)
    """Standard deviation of the noise of each label; that of the paper."""
    seed: int = Field(default=11, ge=0)
    """Of everything that is drawn."""


@reader("correlated", options=CorrelatedOptions)
def read_correlated(_schema: Schema, _folder: None, options: CorrelatedOptions) -> LogSource:
    """Make the data set: `row`, x0 to x99, y1 and y2."""
    random = np.random.default_rng(options.seed)
    axes, _ = np.linalg.qr(random.normal(size=(DIMENSION, 2)))  # [100, 2], orthogonal columns of length 1
    frequencies, phases = random.normal(size=(2, options.terms))
    x = random.normal(size=(options.rows, DIMENSION))
    noise = random.normal(scale=options.noise, size=(2, options.rows))
    p = options.correlation
    weights = options.scale * np.stack([axes[:, 0], p * axes[:, 0] + np.sqrt(1.0 - p * p) * axes[:, 1]])
    labels = []
    for w, e in zip(weights, noise, strict=True):
        t = x @ w  # [rows]
        y = t + np.sin(np.outer(t, frequencies) + phases).sum(axis=1) + e
        labels.append(_standardised(y))
    columns = {f"x{place}": x[:, place] for place in range(DIMENSION)}
    log = pl.DataFrame({"row": np.arange(options.rows), **columns, "y1": labels[0], "y2": labels[1]})
    return LogSource(log, (), f"correlated:{options.model_dump_json()}")


def _standardised(y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray((y - y.mean()) / y.std())
