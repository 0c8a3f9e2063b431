"""Splits: the rows to train on and to validate on; and the moment that parts a streamed log by share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import cast

import numpy as np
import numpy.typing as npt
import polars as pl

from model.errors import FulcrumError
from model.schema import DataSpec, LastSplit
from training.preparation.expressions import floats

_BINS = 1 << 16
_SIGN = np.uint64(1 << 63)


def split_rows(data: DataSpec, frame: pl.DataFrame) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """The rows of training and of validation, bool [rows] each.

    Raises:
        FulcrumError: a rule fails, a row is in both, or none is in one of them.
    """
    if isinstance(data.split, LastSplit):
        times = frame[cast(str, data.time)]  # which the schema asks for
        cut = times[min(round(frame.height * (1.0 - data.split.last)), frame.height - 1)]
        train = (times < cut).to_numpy()  # rows of one moment stay on one side
        validation = ~train
    else:
        train = floats(frame, data.split.train, "data.split.train") == 1.0
        validation = floats(frame, data.split.validation, "data.split.validation") == 1.0
    both = int((train & validation).sum())
    if both:
        raise FulcrumError(f"data.split: {both} rows are in training and in validation; part them")
    for name, rows in (("train", train), ("validation", validation)):
        if not rows.any():
            raise FulcrumError(f"data.split.{name}: no row of {frame.height} is in it; is the rule right?")
    return train, validation


def time_of_share(times: Callable[[], Iterator[pl.Series]], share: float) -> pl.Series:
    """The time that stands at this share of all rows, in the order of time.

    Counts rows in 65,536 bins between the first time and the last, then again inside the bin that the row is
    in, until a bin is one moment: for milliseconds, three readings in all.

    Args:
        times: gives the column, chunk by chunk, anew each time it is called.
        share: of the rows before it, between 0 and 1.

    Returns:
        One value, of the column's type.

    Raises:
        FulcrumError: there are no rows, or the column is neither numbers nor dates nor timestamps.
    """
    rows, low, high = 0, 2**64, -1
    kind: pl.DataType | None = None
    for series in times():
        kind, keys = series.dtype, _keys(series)
        rows += len(keys)
        low, high = min(low, int(keys.min())), max(high, int(keys.max()))
    if kind is None:
        raise FulcrumError("the log has no rows; is this the right folder, and does data.keep keep any?")
    wanted = min(round(rows * share), rows - 1)
    while low < high:
        width = (high - low) // _BINS + 1
        counts = np.zeros(_BINS, np.int64)
        for series in times():
            keys = _keys(series)
            inside = keys[(keys >= low) & (keys <= high)]
            counts += np.bincount((inside - np.uint64(low)) // np.uint64(width), minlength=_BINS)
        before = np.cumsum(counts)
        place = int(np.searchsorted(before, wanted, side="right"))
        wanted -= int(before[place - 1]) if place else 0
        low, high = low + place * width, min(low + (place + 1) * width - 1, high)
    return _value(low, kind)


def _keys(series: pl.Series) -> npt.NDArray[np.uint64]:
    """Whole numbers in the order of the times."""
    physical = series.to_physical()
    if physical.dtype.is_float():
        bits = np.array(physical.cast(pl.Float64).to_numpy()).view(np.uint64)
        return np.where(bits >= _SIGN, ~bits, bits | _SIGN)
    if physical.dtype.is_integer():
        return physical.cast(pl.Int64).to_numpy().view(np.uint64) ^ _SIGN
    raise FulcrumError(
        f"data.split.last: {series.name!r} holds {series.dtype}, of which a streamed log cannot find "
        "the last share; make it a number, a date or a timestamp, or give split.train and split.validation"
    )


def _value(key: int, kind: pl.DataType) -> pl.Series:
    bits = np.array([key], np.uint64)
    if kind.is_float():
        numbers = np.where(bits >= _SIGN, bits ^ _SIGN, ~bits).view(np.float64)
        return pl.Series(numbers).cast(kind)
    return pl.Series((bits ^ _SIGN).view(np.int64)).cast(kind)
