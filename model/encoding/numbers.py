"""Numbers to standardised columns: transformed, standardised on the training split and clipped.

| value | becomes |
| --- | --- |
| None, NaN, infinite, empty string | missing |
| True, False | 1.0, 0.0 |
| far from what training saw | clipped to `CLIP` deviations |
| text that is no number, a list or another wrong type | missing |

A missing number becomes the training mean (0 once standardised); a feature that had missing values in
training has a second column that says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from model.encoding.columns import Column
from model.schema.features import NumericFeature
from model.schema.transforms import TRANSFORMS

CLIP = 5.0
"""Standardised numbers stay within so many standard deviations."""

_LARGEST, _SMALLEST = 1e100, 1e-100  # beyond one counts as it, below the other as 0: squares stay finite
_ROUNDING = 1e-12  # a deviation below this share of the mean is rounding, not scale


def _number(value: Any) -> float:
    """The value as a float, NaN where it is missing or of a wrong type."""
    if isinstance(value, str | Real | np.bool_):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            return math.nan
        return number if math.isfinite(number) else math.nan
    return math.nan


def as_numbers(values: Sequence[Any] | npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Values as floats, NaN where they are missing or of a wrong type: [V]."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iufb":
        numbers = values.astype(np.float64)
        numbers = np.where(np.isfinite(numbers), numbers, np.nan)
    else:
        numbers = np.fromiter(map(_number, values), np.float64, count=len(values))
    return np.where(np.abs(numbers) < _SMALLEST, 0.0, np.clip(numbers, -_LARGEST, _LARGEST))


class NumericEncoder:
    """Numbers to standardised float32 columns: the value, and where training saw gaps, a missing flag."""

    def __init__(
        self, spec: NumericFeature, mean: float, std: float, flag: bool, fitted: Sequence[float] | None
    ) -> None:
        self.name = spec.name
        self.transform = spec.transform
        self.mean = mean
        self.std = std
        self.flag = flag
        self.fitted = fitted

    @classmethod
    def fit(cls, spec: NumericFeature, column: Column) -> Self:
        """Mean and deviation of the training split's finite values, and what the transform keeps of them."""
        numbers = column.spread(as_numbers(column.values))
        present = numbers[~np.isnan(numbers)]
        encoder = cls(spec, 0.0, 1.0, bool(len(present) < len(numbers)), None)
        if not len(present):
            return encoder
        if (fit := TRANSFORMS[spec.transform].fit) is not None:
            encoder.fitted = fit(present)
        moved = encoder._transformed(present)
        encoder.mean = float(moved.mean())
        deviation = float(moved.std())
        encoder.std = deviation if deviation > _ROUNDING * abs(encoder.mean) else 1.0
        return encoder

    @property
    def columns(self) -> int:
        """Columns of the encoded feature: 1, or 2 with the flag."""
        return 2 if self.flag else 1

    def encode(self, column: Column) -> npt.NDArray[np.float32]:
        """Encoded rows: [R, columns]."""
        numbers = as_numbers(column.values)
        missing = np.isnan(numbers)
        moved = (self._transformed(np.where(missing, 0.0, numbers)) - self.mean) / self.std
        value = np.where(missing, 0.0, np.clip(moved, -CLIP, CLIP))
        encoded = np.stack([value, missing], axis=1) if self.flag else value[:, None]
        return column.spread(encoded.astype(np.float32))

    def _transformed(self, numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return TRANSFORMS[self.transform].apply(numbers, self.fitted)

    def state(self) -> dict[str, Any]:
        """What `encoder.json` keeps; under `quantiles`, whatever the transform fitted."""
        return {"mean": self.mean, "std": self.std, "flag": self.flag, "quantiles": self.fitted}

    @classmethod
    def from_state(cls, spec: NumericFeature, state: Mapping[str, Any]) -> Self:
        """The inverse of `state`."""
        return cls(spec, state["mean"], state["std"], state["flag"], state["quantiles"])
