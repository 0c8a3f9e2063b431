"""One level of a mixture: experts that belong to no task, and gates each of which weighs all of them.

After Ma et al., "Modeling Task Relationships in Multi-task Learning with Multi-gate Mixture-of-Experts", KDD
2018, section 4. Knows nothing about towers, losses or features, nor who reads a fusion.

Shapes: B rows, D width of x, S width of what an expert reads, W width of its output, E experts, K gates.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from model.network.layers.gate import Gate, fuse, scores
from model.network.layers.mlp import MLP
from model.network.layers.side_by_side import mix, side_by_side
from model.network.trunk import NamedExpert, NamedGate


class MixtureLevel(nn.Module):
    """Fuses what the experts make of their sources, once for each gate.

    Args:
        sources: width S of what the experts read.
        selector: width D of what the gates read.
        experts: how many, E.
        widths: layer widths of each expert, first to last.
        gates: how many, K.
        dropout: share of units dropped after each layer of the experts, in training.
    """

    def __init__(
        self, sources: int, selector: int, *, experts: int, widths: Sequence[int], gates: int, dropout: float
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleList(MLP(sources, widths, dropout) for _ in range(experts))
        self.gates = nn.ModuleList(Gate(selector, experts) for _ in range(gates))

    def forward(self, sources: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        """What each expert reads, E of [B, S], and the selector [B, D] -> K fusions [B, W]."""
        if self.training:
            return self._side_by_side(sources, x)
        outputs = [expert(source) for expert, source in zip(self.experts, sources, strict=True)]
        return [fuse(gate(x), outputs) for gate in self.gates]

    def named_experts(self, level: int) -> list[NamedExpert]:
        """The experts by their places."""
        return [NamedExpert(level, f"expert {place}", expert) for place, expert in enumerate(self.experts, 1)]

    def named_gates(self, level: int, readers: Sequence[str]) -> list[NamedGate]:
        """The gates by who reads their fusions."""
        names = tuple(expert.name for expert in self.named_experts(level))
        return [
            NamedGate(level, reader, names, gate) for reader, gate in zip(readers, self.gates, strict=True)
        ]

    def _side_by_side(self, sources: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        """The same in few, large products, for training."""
        experts = cast(list[MLP], list(self.experts))
        if all(source is sources[0] for source in sources):
            outputs = side_by_side(experts, sources[0])
        else:
            each = zip(experts, sources, strict=True)
            outputs = torch.cat([side_by_side([expert], source) for expert, source in each])
        scored = scores(list(self.gates), x).view(len(x), len(self.gates), len(experts))  # [B, K, E]
        return list(mix(torch.softmax(scored, dim=-1), outputs).unbind(1))
