"""Turns of requests in two states, off and on, in pairs: the ratio of their times, with its interval.

Knows no service.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from rich.table import Table

from benchmarks.load import Line

__all__ = ["add_percentiles", "interval", "order", "turn"]

RESAMPLES = 2_000


def turn(line: Line, body: Callable[[int], bytes], requests: int) -> npt.NDArray[np.float64]:
    """Seconds of requests, one after another."""
    replies = [line.post(body(number)) for number in range(requests)]
    assert {reply.status for reply in replies} == {200}
    return np.array([reply.seconds for reply in replies])


def order(number: int) -> tuple[bool, bool]:
    """The states of a pair: who comes first, changes."""
    return (False, True) if number % 2 else (True, False)


def add_percentiles(
    table: Table, took: Mapping[bool, Sequence[npt.NDArray[np.float64]]], percentiles: Iterable[int]
) -> dict[int, float]:
    """Add a row a percentile: off, on, on over off with its 95 % interval.

    Returns:
        The lower ends of the intervals, by percentile.
    """
    lows = {}
    for percentile in percentiles:
        off, on = (
            np.array([np.percentile(turn, percentile) for turn in took[kind]]) for kind in (False, True)
        )
        lows[percentile], high = interval(on / off)
        table.add_row(
            f"p{percentile}",
            *(f"{np.median(each) * 1e3:.2f}" for each in (off, on)),
            f"{np.median(on / off):.3f}",
            f"{lows[percentile]:.3f} to {high:.3f}",
        )
    return lows


def interval(ratios: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Of their median, by resampling the pairs."""
    draws = np.random.default_rng(0).choice(ratios, (RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(draws, axis=1), [2.5, 97.5])
    return float(low), float(high)
