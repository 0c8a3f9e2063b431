"""One extraction level: experts, and gates that choose among them.

After Tang et al., "Progressive Layered Extraction", RecSys 2020: Customized Gate Control (section 4.1), and
the shared gate that lets levels be stacked (section 4.2). Knows nothing about towers, losses or features.

A *stream* is what flows through the levels: one per task, and the shared one.

Shapes: B rows, D width of a stream coming in, W width of a stream going out, E experts, T tasks, K gates.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from model.network.config import ExpertGroup
from model.network.layers.gate import Gate, fuse, scores
from model.network.layers.mlp import MLP
from model.network.layers.side_by_side import mix, side_by_side
from model.network.trunk import NamedExpert, NamedGate


class Streams(NamedTuple):
    """What one level hands to the next: before the first, the input x in each; after it, the fusions."""

    tasks: list[Tensor]
    """T of [B, D], in the order of the tasks."""
    shared: Tensor | None
    """[B, D]; None after the last level, where nobody reads it."""


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
        self._one_shape = all(group.widths == shared.widths for group in tasks)
        seen = _seen([group.count for group in tasks], shared.count, last=last)
        self.register_buffer("_seen", seen, persistent=False)

    def forward(self, streams: Streams) -> Streams:
        """Each expert and each gate reads its own stream; [B, D] each -> [B, W] each."""
        assert streams.shared is not None, "no level may follow the last"  # noqa: S101 (a fault of the builder)
        return self._side_by_side(streams) if self.training else self._one_by_one(streams)

    def named_experts(self, level: int, tasks: Sequence[str]) -> list[NamedExpert]:
        """The experts task by task, then the shared ones."""
        groups = zip([*tasks, "shared"], [*self.task_experts, self.shared_experts], strict=True)
        return [
            NamedExpert(level, f"{owner} {place}", expert)
            for owner, group in groups
            for place, expert in enumerate(cast(nn.ModuleList, group), 1)
        ]

    def named_gates(self, level: int, tasks: Sequence[str]) -> list[NamedGate]:
        """The tasks' gates, then the shared one where there is one."""
        names = [expert.name for expert in self.named_experts(level, tasks)]
        shared = names[len(names) - len(self.shared_experts) :]
        gates, begin = [], 0
        for task, gate, experts in zip(tasks, self.task_gates, self.task_experts, strict=True):
            count = len(cast(nn.ModuleList, experts))
            gates.append(NamedGate(level, task, (*names[begin : begin + count], *shared), gate))
            begin += count
        if self.shared_gate is not None:
            gates.append(NamedGate(level, "shared", tuple(names), self.shared_gate))
        return gates

    def _one_by_one(self, streams: Streams) -> Streams:
        """The equations as the paper has them, and the graph that is exported."""
        x_shared = cast(Tensor, streams.shared)
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

    def _side_by_side(self, streams: Streams) -> Streams:
        """The same in few, large products, for training."""
        sources = [*streams.tasks, cast(Tensor, streams.shared)]
        # Before the first level all streams are x itself.
        one_source = all(source is sources[0] for source in sources)
        groups = [cast(list[MLP], list(group)) for group in (*self.task_experts, self.shared_experts)]
        if one_source and self._one_shape:
            experts = side_by_side([expert for group in groups for expert in group], sources[0])
        else:
            experts = torch.cat([side_by_side(*group) for group in zip(groups, sources, strict=True)])
        gates = [*self.task_gates] if self.shared_gate is None else [*self.task_gates, self.shared_gate]
        if one_source:
            scored = scores(gates, sources[0])
        else:
            each = zip(gates, sources, strict=False)
            scored = torch.cat([scores([gate], source) for gate, source in each], dim=1)
        # An expert that a gate does not see scores minus infinity, so it weighs exactly zero.
        unseen = scored.new_full((len(scored), 1), -torch.inf)
        spread = torch.cat([scored, unseen], dim=1).index_select(1, cast(Tensor, self._seen))
        spread = spread.view(len(spread), len(gates), -1)  # [B, K, E]
        mixed = mix(torch.softmax(spread, dim=-1), experts).unbind(1)  # K of [B, W]
        tasks = len(self.task_gates)
        return Streams(list(mixed[:tasks]), None if self.shared_gate is None else mixed[tasks])


def _outputs(experts: nn.Module, stream: Tensor) -> list[Tensor]:
    return [expert(stream) for expert in experts.children()]  # E of [B, W]


def _seen(own: Sequence[int], shared: int, *, last: bool) -> Tensor:
    """Where each gate's score of each expert stands among all gates' scores side by side: [K * E].

    Experts stand task by task, then the shared ones. One place behind the scores stands for unseen.
    """
    experts, begin, gates = sum(own) + shared, 0, list[list[int]]()
    for count in own:
        gates.append([*range(begin, begin + count), *range(sum(own), experts)])
        begin += count
    if not last:
        gates.append(list(range(experts)))
    unseen = sum(map(len, gates))
    places, before = [], 0
    for gate in gates:
        places += [before + gate.index(expert) if expert in gate else unseen for expert in range(experts)]
        before += len(gate)
    return torch.tensor(places)
