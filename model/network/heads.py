"""What a tower's output means: the reading of it as a probability or as a bounded value.

Knows nothing about how the output was made, nor about losses.

Shapes: B rows, T tasks, C output columns of all tasks, M thresholds of an ordinal head.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from model.network.thresholds import Ordinal


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
    space: str | None = None
    """Name of the sample space on which the task is defined; tasks of one name share it. None: all rows."""

    ordinal: Ordinal | None = None
    """How a regression asks for thresholds, where it does: its tower answers each."""

    @property
    def columns(self) -> int:
        """How many outputs of its tower it reads."""
        return self.ordinal.thresholds if self.ordinal is not None else 1

    @property
    def width(self) -> int:
        """Columns that it has among a network's outputs: the tower's, then its row of `Thresholds`."""
        return self.columns if self.ordinal is None else 1 + 3 * self.columns

    def __post_init__(self) -> None:
        if self.kind not in ("binary", "regression"):
            raise ValueError(f"task '{self.name}': unknown kind {self.kind!r}; binary and regression exist")
        low, high = self.bounds
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"task '{self.name}': bounds must be finite and rising; got [{low}, {high}]")
        if self.ordinal is not None and self.kind != "regression":
            raise ValueError(f"task '{self.name}': only a regression has thresholds")


@dataclass(frozen=True)
class Answers:
    """The output of an ordinal head, taken apart."""

    logits: Tensor
    """Of P(y >= t_m), [B, M]."""
    floor: Tensor
    """v_0, [B, 1]."""
    steps: Tensor
    """v_m - v_{m-1}, [B, M]; 0 where a threshold is not in use."""
    reached: Tensor
    """t_m, [B, M]; infinite where it is not in use."""


def answers(head: TaskHead, output: Tensor) -> Answers:
    """What an ordinal head's output [B, width] holds."""
    count = head.columns
    return Answers(*torch.split(output, [count, 1, count, count], dim=1))


def prediction(head: TaskHead, output: Tensor) -> Tensor:
    """Output [B, width] -> probability (`binary`) or value within the bounds (`regression`), [B, 1].

    A regression is lo + (hi - lo) * sigmoid(output): an unbounded value could be negative, and a negative
    base to a fractional power is NaN in the fused score. An ordinal one is an expectation, see `Thresholds`.
    """
    if head.ordinal is not None:
        found = answers(head, output)
        expectation = found.floor + (torch.sigmoid(found.logits) * found.steps).sum(dim=1, keepdim=True)
        return expectation.clamp(*head.bounds)
    share = torch.sigmoid(output)
    if head.kind == "binary":
        return share
    low, high = head.bounds
    # Clamped as rounding of lo + (hi - lo) may step over a bound by one unit in the last place.
    return (low + (high - low) * share).clamp(low, high)


def columns(heads: Sequence[TaskHead], outputs: Tensor) -> list[Tensor]:
    """Each task's outputs: [B, C or more] -> T of [B, width]. What stands behind them is no task's."""
    widths = [head.width for head in heads]
    return list(torch.split(outputs[:, : sum(widths)], widths, dim=1))


def predictions(heads: Sequence[TaskHead], outputs: Tensor) -> Tensor:
    """Tower outputs [B, C or more] -> predictions [B, T], in the order of `heads`."""
    pairs = zip(heads, columns(heads, outputs), strict=True)
    return torch.cat([prediction(head, output) for head, output in pairs], dim=1)
