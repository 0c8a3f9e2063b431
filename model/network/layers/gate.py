"""The gate: chooses among experts by what it reads.

After Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD
2018, equation 8, and Tang et al., "Progressive Layered Extraction", RecSys 2020, equations 2 to 4. Knows
nothing about which experts a gate sees, nor about levels.

Shapes: B rows, D width of what a gate reads, E experts, W width of their outputs.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.network.layers.mlp import Linear


class Gate(nn.Module):
    """Softmax of one linear map of what it reads, without bias.

    `forward` takes the stream [B, D] and returns weights [B, E]: positive, each row sums to one.
    """

    def __init__(self, inputs: int, experts: int) -> None:
        super().__init__()
        self.linear = Linear(inputs, experts, bias=False)

    def forward(self, stream: Tensor) -> Tensor:  # noqa: D102 (the class says it)
        return torch.softmax(self.linear(stream), dim=-1)


def fuse(weights: Tensor, experts: Sequence[Tensor]) -> Tensor:
    """Add experts up by a gate's weights: [B, E] and E of [B, W] -> [B, W]."""
    return (weights.unsqueeze(-1) * torch.stack(list(experts), dim=1)).sum(dim=1)


def scores(gates: Sequence[nn.Module], stream: Tensor) -> Tensor:
    """What gates of one stream give before their softmax, side by side: [B, D] -> [B, sum of E]."""
    weights = [cast(Gate, gate).linear.weight for gate in gates]
    return F.linear(stream, torch.cat(weights).to(stream.dtype))
