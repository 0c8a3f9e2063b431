"""Sluice: a network a task, its layers mixed across tasks by subspaces, its tower on a mixture of all layers.

After Ruder et al., "Latent Multi-task Architecture Learning", AAAI 2019. Each layer's output is parted into
subspaces (two there), and

    alpha   mixes the subspaces of all tasks after each layer, before the next: h'_l = alpha_l h_l,
    beta    mixes a task's layers, after their alphas, into what its tower reads: sum over l of beta_l h'_l,
    Omega   sums, over tasks and layers, |G_1 G_2^T|^2 (Frobenius) of the weights that make two subspaces, so
            that they learn different things.

Layers there are of one width. Where they are not, a layer narrower or wider than the last one reaches beta
through a linear map to its width. As in the authors' code, a task's own part and its last layer weigh most at
first.

Shapes: B rows, D width of the input x, W width of the last layer, T tasks, S subspaces, L layers, H units of
a layer, C output columns of all tasks, A auxiliary columns.
"""

from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, Literal, Self, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from model.network.config import Count, LayersConfig
from model.network.heads import TaskHead
from model.network.layers.mlp import MLP, Linear, Tower
from model.network.layers.side_by_side import outputs_of
from model.network.layers.stitch import Stitch
from model.network.trunk import NamedExpert, Trunk

_Share = Annotated[float, Field(ge=0.0, le=1.0)]


class SluiceConfig(LayersConfig):
    """Settings of sluice networks."""

    model: Literal["sluice"] = "sluice"
    subspaces: Count = 2
    """Parts of each layer's output, of equal width, that are mixed by themselves."""
    own: _Share = 0.9
    """What a subspace weighs in its own mixture at first (alpha); all others share the rest evenly."""
    last: _Share = 0.9
    """What a task's last layer weighs for its tower at first (beta); those before share the rest evenly."""
    orthogonality: Annotated[float, Field(ge=0.0)] = 1e-4
    """What the overlap of subspaces (Omega) is multiplied by in the joint loss."""

    @model_validator(mode="after")
    def _subspaces_part_the_layers(self) -> Self:
        for width in self.expert:
            if width % self.subspaces:
                raise ValueError(f"{self.subspaces} subspaces do not part a layer of {width} units evenly")
        return self


class Sluice(Trunk, config=SluiceConfig):
    """x [B, D] -> T tower outputs, each on a mixture [B, W] of its task's layers."""

    def __init__(self, config: SluiceConfig, *, fields: Sequence[int], tasks: Sequence[TaskHead]) -> None:
        super().__init__(config, fields=fields, tasks=tasks)
        self.names = tuple(task.name for task in tasks)
        self.subspaces = config.subspaces
        self.orthogonality = config.orthogonality
        widths = [sum(fields), *config.expert]
        last = widths[-1]
        self.layers = nn.ModuleList(
            nn.ModuleList(MLP(before, [after], config.dropout) for _ in tasks)
            for before, after in zip(widths, config.expert, strict=False)
        )
        self.stitches = nn.ModuleList(
            Stitch(len(tasks) * config.subspaces, config.own) for _ in config.expert
        )
        self.to_last = nn.ModuleList(
            nn.ModuleList(nn.Identity() if width == last else _map(width, last) for _ in tasks)
            for width in config.expert
        )
        before = len(config.expert) - 1
        mixture = torch.full((len(tasks), before + 1), (1.0 - config.last) / max(before, 1))
        mixture[:, -1] = config.last if before else 1.0
        self.mixture = nn.Parameter(mixture)  # beta, [T, L]
        self.towers = nn.ModuleList(Tower(last, config.tower, config.dropout, task.columns) for task in tasks)

    def forward(self, x: Tensor) -> list[Tensor]:  # noqa: D102 (the base says it)
        streams = [x] * len(self.towers)
        mixtures: list[Tensor] = []  # T of [B, W]
        beta = self.mixture.to(x.dtype)
        parts = zip(self._layers, self.stitches, self.to_last, strict=True)
        for number, (layers, stitch, to_last) in enumerate(parts):
            if number == 0:
                outputs = outputs_of(layers, x)
            else:
                outputs = [layer(stream) for layer, stream in zip(layers, streams, strict=True)]
            streams = self._stitched(stitch, outputs)
            maps = cast(nn.ModuleList, to_last)
            terms = [
                beta[task, number] * to_width(stream)
                for task, (to_width, stream) in enumerate(zip(maps, streams, strict=True))
            ]
            mixtures = (
                [sum_ + term for sum_, term in zip(mixtures, terms, strict=True)] if mixtures else terms
            )
        return [tower(mixture) for tower, mixture in zip(self.towers, mixtures, strict=True)]

    def _stitched(self, stitch: nn.Module, outputs: list[Tensor]) -> list[Tensor]:
        """Mix subspace by subspace: T of [B, H] -> the same."""
        parts = [part for output in outputs for part in output.chunk(self.subspaces, dim=1)]
        mixed = stitch(parts)  # T * S of [B, H / S], task by task
        return [
            torch.cat(mixed[begin : begin + self.subspaces], dim=1)
            for begin in range(0, len(mixed), self.subspaces)
        ]

    def loss(  # noqa: D102 (the base says it)
        self, outputs: Tensor, labels: Tensor, mask: Tensor, heads: Sequence[TaskHead], weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        total, per_task = super().loss(outputs, labels, mask, heads, weights)
        return total + self.orthogonality * self.overlap(), per_task

    def overlap(self) -> Tensor:
        """Omega, a scalar: squared products of the weights that make any two subspaces of a layer."""
        total = self.mixture.new_zeros(())
        for layers in self._layers:
            weights = torch.stack([linear.weight for layer in layers for linear in layer.linears])
            for one, other in combinations(weights.chunk(self.subspaces, dim=1), 2):  # [T, H / S, D]
                total = total + torch.bmm(one, other.transpose(1, 2)).square().sum()
        return total

    def experts(self) -> list[NamedExpert]:  # noqa: D102 (the base says it)
        return [
            NamedExpert(level, f"{name} 1", layer)
            for level, layers in enumerate(self._layers, 1)
            for name, layer in zip(self.names, layers, strict=True)
        ]

    @property
    def _layers(self) -> list[list[MLP]]:
        return [cast(list[MLP], list(cast(nn.ModuleList, layers))) for layers in self.layers]


def _map(inputs: int, outputs: int) -> Linear:
    """A linear map that keeps the scale."""
    linear = Linear(inputs, outputs, bias=False)
    nn.init.kaiming_normal_(linear.weight, nonlinearity="linear")
    return linear
