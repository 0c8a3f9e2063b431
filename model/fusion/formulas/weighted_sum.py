"""`weighted_sum`: what the predicted behaviours are worth, in all.

    value = sum over tasks of (price + price_per_s * s) * (a + b * p)
    score = value * f(video_len)^weight     (combine: times)
    score = value + weight * f(video_len)   (combine: plus)

s is the length in seconds, at most `longest_s`. The best order of an additive reward, where predictions are
calibrated; a price is what one such behaviour is worth, in the unit of the score. With `times`, each task's
term holds the factor, and the length's is 0. Shapes: N candidates.
"""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field

from model.frozen import Frozen
from model.fusion.bounds import NonNegative, Number, Positive
from model.fusion.lengths import Floats, duration_factor
from model.fusion.names import Name
from model.fusion.scene import MOST_SEGMENTS, SceneConfig, Segment, Terms, unlike_names

MAX_PRICE = 1e6
_LARGEST = 1e300
"""Of a term; a hundred of them still have a sum."""

Price = Annotated[Number, Field(ge=-MAX_PRICE, le=MAX_PRICE)]


class PricedTask(Frozen):
    """How one predicted behaviour p enters: `(price + price_per_s * s) * (a + b * p)`."""

    price: Price = 0.0
    """What the behaviour is worth. 0, with `price_per_s` 0, leaves the task out."""
    price_per_s: Price = 0.0
    """What it is worth for each second of the video."""
    a: Price = 0.0
    b: Annotated[Positive, Field(le=MAX_PRICE)] = 1.0
    """With `a`, a straight line from p to what it means; the scene's `calibration` comes before it."""

    @property
    def weight(self) -> float:
        """Its price, or the price per second where that is all."""
        return self.price or self.price_per_s

    def disturbed(self, weight: float | None, log_smoothing: float | None) -> Self:
        """The same with another price; one per second beside it changes by the same factor."""
        del log_smoothing  # there is none
        if weight is None:
            return self
        if not self.price:
            return self.model_copy(update={"price_per_s": weight})
        per_s = self.price_per_s * (weight / self.price)
        return self.model_copy(update={"price": weight, "price_per_s": per_s})


class WeightedSum(SceneConfig):
    """The weighted sum of calibrated predictions."""

    prices: ClassVar[bool] = True

    formula: Literal["weighted_sum"] = "weighted_sum"
    tasks: dict[Name, PricedTask]
    """Terms by task name. A task left out is worth nothing."""
    combine: Literal["times", "plus"] = "times"
    """How f(video_len) enters."""
    longest_s: Positive = 600.0
    """Seconds that `price_per_s` pays for, at most."""
    missing_s: NonNegative = 0.0
    """Seconds that it pays for where the length is not known."""
    segments: Annotated[
        tuple[Segment[PricedTask], ...] | None, Field(max_length=MOST_SEGMENTS), AfterValidator(unlike_names)
    ] = None

    @property
    def per_second(self) -> dict[str, float]:  # noqa: D102 (the class above says it)
        return {task: term.price_per_s for task, term in self.tasks.items() if term.price_per_s}

    def terms(  # noqa: D102
        self, p: Mapping[str, Floats], video_len_s: Floats, lists: NDArray[np.int64] | None
    ) -> Terms:
        del lists  # each candidate counts alone
        seconds = np.where(
            np.isnan(video_len_s), self.missing_s, np.minimum(np.fmax(video_len_s, 0.0), self.longest_s)
        )
        tasks: dict[str, Floats] = {}
        weight, length = self.video_len.weight, None
        with np.errstate(over="ignore"):  # what overflows is bounded next
            for task, prediction in p.items():
                term = self.tasks[task]
                price = _bounded(term.price + term.price_per_s * seconds) if term.price_per_s else term.price
                tasks[task] = price * (term.a + term.b * prediction)
            if weight and self.video_len.kind != "none":
                f = duration_factor(self.video_len, video_len_s)
                if self.combine == "plus":
                    length = _bounded(weight * f)
                else:
                    factor = _bounded(np.power(f, weight))
                    tasks = {task: value * factor for task, value in tasks.items()}
        return Terms({task: _bounded(value) for task, value in tasks.items()}, length)


def _bounded(values: Floats) -> Floats:
    """No larger than can be summed, and no -0.0."""
    bounded: Floats = np.clip(values, -_LARGEST, _LARGEST) + 0.0
    return bounded
