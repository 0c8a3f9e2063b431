"""Dropout whose random bits are cheap: torch draws a number of 32 bits or more for each unit, one at a time,
which made up a quarter of a step of a small network.

Knows nothing about layers.
"""

import torch
from torch import Tensor, nn

_LEVELS = 1 << 16


class Dropout(nn.Module):
    """Sets a share of the units to zero in training and scales the others up: any shape -> the same.

    The share is rounded to a multiple of 2^-16, and the scale fits the rounded share, so that the mean stays.
    The bits come from torch's global generator.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102 (the class says it)
        return dropout(x, self.rate) if self.training else x

    def extra_repr(self) -> str:  # noqa: D102
        return f"rate={self.rate}"


def dropout(x: Tensor, rate: float) -> Tensor:
    """Drop this share of the units of x."""
    return x if kept_scale(rate) == 1.0 else x * scaled_mask(x, rate)


def kept_scale(rate: float) -> float:
    """What units that are kept are multiplied by."""
    return _LEVELS / (_LEVELS - _dropped(rate))


def scaled_mask(x: Tensor, rate: float) -> Tensor:
    """Zero for a unit of x to drop, `kept_scale` for one to keep; drawn afresh."""
    # Four units a draw.
    draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64, device=x.device).random_(-(1 << 63), None)
    bits = draws.view(torch.int16)[: x.numel()].view(x.shape)
    # In place into int16, which runs in vector instructions; a bool mask does not.
    return bits.ge_(_dropped(rate) - _LEVELS // 2).to(x.dtype).mul_(kept_scale(rate))


def _dropped(rate: float) -> int:
    return min(round(rate * _LEVELS), _LEVELS - 1)
