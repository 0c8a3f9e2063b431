"""Calibration: what a prediction means as a probability, before a formula takes it.

A map is monotone, so that within a segment it changes no task's own order. Segments say for which requests
and lengths another map holds; the first that holds counts. Sums of predictions need calibration; in a product
a factor common to a task's predictions changes no order. Fitting is elsewhere.

Shapes: N candidates, K points.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator

from model.frozen import Frozen
from model.fusion.bounds import Number, Positive
from model.fusion.conditions import LENGTH, Condition, holds, lengths_that_hold
from model.fusion.lengths import Floats, linear_between

_EDGE = 1e-12
"""Platt's log-odds are of p at least so far from 0 and 1."""

Share = Annotated[Number, Field(ge=0, le=1)]


class Platt(Frozen):
    """sigmoid(a + b logit(p)), Platt's map of log-odds (1999, "Probabilistic outputs for SVMs", eq. 1)."""

    kind: Literal["platt"] = "platt"
    a: Number = 0.0
    b: Positive = 1.0

    def apply(self, p: Floats) -> Floats:
        """Of predictions [N] -> [N]."""
        inside = np.clip(p, _EDGE, 1.0 - _EDGE)
        with np.errstate(over="ignore"):
            odds: Floats = np.exp(-(self.a + self.b * (np.log(inside) - np.log1p(-inside))))
        return 1.0 / (1.0 + odds)


class Isotonic(Frozen):
    """Linear between points, flat beyond the ends."""

    kind: Literal["isotonic"] = "isotonic"
    points: Annotated[tuple[tuple[Share, Share], ...], Field(min_length=1, max_length=1000)]
    """[p, calibrated p]; the first strictly increasing, the second nowhere less than before."""

    @field_validator("points")
    @classmethod
    def _increasing(cls, points: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        for (p, q), (next_p, next_q) in pairwise(points):
            if p >= next_p or q > next_q:
                raise ValueError(
                    f"[{next_p}, {next_q}] follows [{p}, {q}]; expected the first to rise, "
                    "the second not to fall"
                )
        return points

    def apply(self, p: Floats) -> Floats:
        """Of predictions [N] -> [N]."""
        y = np.array([q for _, q in self.points])  # [K]
        calibrated, left = linear_between(self.points, p)
        # Rounding may pass the point to the right, by the last digit, and the map is monotone.
        bounded: Floats = np.minimum(calibrated, np.append(y[1:], y[-1])[left])
        return bounded


CalibrationMap = Annotated[Platt | Isotonic, Field(discriminator="kind")]


class CalibratedSegment(Frozen):
    """Where another map holds."""

    when: Condition
    map: CalibrationMap

    def of_lengths(self) -> "CalibratedSegment":
        """The same for requests of which all else holds."""
        lengths = {LENGTH: self.when[LENGTH]} if LENGTH in self.when else {}
        return self.model_copy(update={"when": lengths})


class TaskCalibration(Frozen):
    """A task's map, and others for some requests and lengths."""

    map: CalibrationMap = Platt()
    segments: Annotated[tuple[CalibratedSegment, ...], Field(max_length=100)] = ()

    def of_request(self, request: Mapping[str, Any]) -> "TaskCalibration":
        """What is left of it where a request is known: segments by length alone."""
        if not self.segments:
            return self
        left = tuple(one.of_lengths() for one in self.segments if holds(one.when, request))
        return self.model_copy(update={"segments": left})

    def apply(self, p: NDArray[np.floating], video_len_s: Floats) -> Floats:
        """Calibrated predictions [N] of predictions and lengths [N]; of NaN, NaN.

        A segment that still asks something of the request holds nowhere: `of_request` is what answers it.
        """
        wide = np.asarray(p, np.float64)
        calibrated = self.map.apply(wide)
        for segment in reversed(self.segments):  # the first that holds is written last
            if segment.when.keys() - {LENGTH}:
                continue
            inside = lengths_that_hold(segment.when, video_len_s)
            calibrated = np.where(inside, segment.map.apply(wide), calibrated)
        return calibrated
