"""A stitch: as many mixtures of streams as there are streams, by weights that are learned.

After Misra et al., "Cross-stitch Networks for Multi-task Learning", CVPR 2016, section 3.
Knows nothing about what the streams are.

Shapes: B rows, S streams, W width of a stream.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Stitch(nn.Module):
    """S streams of [B, W] -> S mixtures of them, [B, W] each: sums by the rows of a matrix [S, S].

    Args:
        streams: S.
        own: what a stream weighs in its own mixture at first; the others share the rest evenly.
    """

    def __init__(self, streams: int, own: float) -> None:
        super().__init__()
        others = (1.0 - own) / max(streams - 1, 1)
        weight = torch.full((streams, streams), others)
        weight.fill_diagonal_(own if streams > 1 else 1.0)
        self.weight = nn.Parameter(weight)

    def forward(self, streams: Sequence[Tensor]) -> list[Tensor]:  # noqa: D102 (the class says it)
        stacked = torch.stack(list(streams))  # [S, B, W]
        mixed = self.weight.to(stacked.dtype) @ stacked.flatten(1)  # [S, B * W]
        return list(mixed.view_as(stacked).unbind(0))
