"""What a tower's output means: the reading of it as a probability or as a bounded value.

Knows nothing about how the output was made, nor about losses.

Shapes: B rows, T tasks.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class TaskHead:
    """One task as the network sees it.

    Raises:
        ValueError: `kind` is neither of the two, or `bounds` are not finite and rising.
    """

    name: str
    """The task's name, as in the recipe."""
    kind: Literal["binary", "regression"]
    """`binary`: the output is a logit. `regression`: the output is squashed into `bounds`."""
    bounds: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest value of a regression, in the unit of its label. Not used by `binary`."""

    def __post_init__(self) -> None:
        if self.kind not in ("binary", "regression"):
            raise ValueError(f"task '{self.name}': unknown kind {self.kind!r}; binary and regression exist")
        low, high = self.bounds
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"task '{self.name}': bounds must be finite and rising; got [{low}, {high}]")


def prediction(head: TaskHead, output: Tensor) -> Tensor:
    """Tower output -> probability (`binary`) or value within the bounds (`regression`), of any one shape.

    A regression is lo + (hi - lo) * sigmoid(output): an unbounded value could be negative, and a negative
    base to a fractional power is NaN in the fused score.
    """
    share = torch.sigmoid(output)
    if head.kind == "binary":
        return share
    low, high = head.bounds
    # Clamped as rounding of lo + (hi - lo) may step over a bound by one unit in the last place.
    return (low + (high - low) * share).clamp(low, high)


def predictions(heads: Sequence[TaskHead], outputs: Tensor) -> Tensor:
    """Tower outputs [B, T] -> predictions [B, T], the columns in the order of `heads`."""
    columns = zip(heads, outputs.unbind(1), strict=True)
    return torch.stack([prediction(head, output) for head, output in columns], dim=1)
