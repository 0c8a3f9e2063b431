"""One extraction level: experts, and gates that choose among them.

After Tang et al., "Progressive Layered Extraction", RecSys 2020: Customized Gate Control (section 4.2), and
the shared gate that lets levels be stacked (section 4.3). Knows nothing about towers, losses or features.

A *stream* is what flows through the levels: one per task, and the shared one.

Shapes: B rows, D width of a stream coming in, W width of a stream going out, E experts, T tasks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from model.network.config import ExpertGroup
from model.network.mlp import MLP


class Streams(NamedTuple):
    """What one level hands to the next: before the first, the input x in each; after it, the fusions."""

    tasks: list[Tensor]
    """T of [B, D], in the order of the tasks."""
    shared: Tensor | None
    """[B, D]; None after the last level, where nobody reads it."""


class Gate(nn.Module):
    """Chooses among experts: softmax of one linear map of its stream, without bias (section 4.2).

    `forward` takes the stream [B, D] and returns weights [B, E]: positive, each row sums to one.
    """

    def __init__(self, inputs: int, experts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, experts, bias=False)

    def forward(self, stream: Tensor) -> Tensor:  # noqa: D102 (the class says it)
        return torch.softmax(self.linear(stream), dim=-1)


def fuse(weights: Tensor, experts: Sequence[Tensor]) -> Tensor:
    """Add experts up by a gate's weights: [B, E] and E of [B, W] -> [B, W]."""
    return (weights.unsqueeze(-1) * torch.stack(list(experts), dim=1)).sum(dim=1)


class ExtractionLevel(nn.Module):
    """One level of PLE: each task's gate sees its own experts and the shared ones, the shared gate sees all.

    Args:
        inputs: width D of every stream coming in.
        tasks: each task's own experts.
        shared: the shared experts.
        last: whether no level follows. The shared gate is left out then, as no gradient would reach it.
        dropout: share of units dropped after each layer of the experts, in training.
    """

    def __init__(
        self,
        inputs: int,
        tasks: Sequence[ExpertGroup],
        shared: ExpertGroup,
        *,
        last: bool,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()

        def experts(group: ExpertGroup) -> nn.ModuleList:
            return nn.ModuleList(MLP(inputs, group.widths, dropout) for _ in range(group.count))

        self.task_experts = nn.ModuleList(experts(group) for group in tasks)
        self.shared_experts = experts(shared)
        self.task_gates = nn.ModuleList(Gate(inputs, group.count + shared.count) for group in tasks)
        everyone = sum(group.count for group in tasks) + shared.count
        self.shared_gate = None if last else Gate(inputs, everyone)

    def forward(self, streams: Streams) -> Streams:
        """Each expert and each gate reads its own stream; [B, D] each -> [B, W] each."""
        x_shared = streams.shared
        assert x_shared is not None, "no level may follow the last"  # noqa: S101 (a fault of the builder)
        shared = _outputs(self.shared_experts, x_shared)
        own = [_outputs(experts, x) for experts, x in zip(self.task_experts, streams.tasks, strict=True)]
        fusions = [
            fuse(gate(x), [*experts, *shared])
            for gate, x, experts in zip(self.task_gates, streams.tasks, own, strict=True)
        ]
        if self.shared_gate is None:
            return Streams(fusions, None)
        everyone = [expert for experts in own for expert in experts] + shared
        return Streams(fusions, fuse(self.shared_gate(x_shared), everyone))


def _outputs(experts: nn.Module, stream: Tensor) -> list[Tensor]:
    return [expert(stream) for expert in experts.children()]  # E of [B, W]
