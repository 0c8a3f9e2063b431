"""MRAN: attention relates tasks to tasks, features to features, and tasks to features.

After Zhao et al., "Multiple Relational Attention Network for Multi-task Learning", KDD 2019, which we know by
its abstract and a summary of its sections. By multi-head attention with a residual, where
Att(Q, V) = W_o [softmax(W_q Q (W_k V)^T / sqrt(d / H)) W_v V]:

    feature-feature (3.3)   h = |z + Att(z, z)|, z_f = P_f x_f of each feature f
    task-task (3.2)         s = |e + Att(e, e)|, e_t learned
    task-feature (3.4)      r_t = |sum_f z_f + Att(s_t, h)|
    prediction (3.5)        each task's own layers and tower on r_t

Simplified, and where the paper is another: what stands for a task there is made of the training rows' labels,
and its weights over features are frozen for serving; here it is a vector that is learned, and it weighs the
features of each row anew. A feature is a number there and a part of x of any width here. The residual of
features is their sum, since layers on all of them side by side would not outlive a change of features; RMS
normalisation, |.| here, takes the place of batch normalisation; the penalty on the relations is left out.

Queries and keys are normalised as well, head by head, and a learned sharpness says how much likeness counts:
embeddings start small, and scores without bound would magnify rounding. A feature's weight in a softmax is in
proportion to its length besides: what is all zero is as good as absent, so that a new feature with weights of
zero moves no prediction.

Shapes: B rows, D width of the input x, F features, T tasks, d `width`, H heads.
"""

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Literal, Self

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from model.network.config import Count, LayersConfig
from model.network.heads import TaskHead
from model.network.layers.attention import normal
from model.network.layers.mlp import MLP, Linear, Tower
from model.network.trunk import NamedExpert, Trunk

_SHORTEST_SQUARED = 1e-36


class MRANConfig(LayersConfig):
    """Settings of MRAN. `expert` is each task's own network on what it read, before its tower."""

    model: Literal["mran"] = "mran"
    width: Count = 64
    """Width of what stands for a feature or a task where they are related."""
    heads: Count = 4
    """Heads of each attention, which part the width evenly."""

    @model_validator(mode="after")
    def _heads_part_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(
                f"heads: {self.heads} do not part a width of {self.width} evenly; make it a multiple"
            )
        return self


class MRAN(Trunk, config=MRANConfig):
    """x [B, D] -> T tower outputs, [B, columns] each, in the order of `tasks`."""

    def __init__(self, config: MRANConfig, *, fields: Sequence[int], tasks: Sequence[TaskHead]) -> None:
        super().__init__(config, fields=fields, tasks=tasks)
        ends = list(accumulate(fields))
        self.columns = [slice(end - field, end) for field, end in zip(fields, ends, strict=True)]
        self.names = tuple(task.name for task in tasks)
        # Of one piece, [d, D]: each feature has its columns.
        self.projection = nn.Parameter(
            torch.cat([torch.randn(config.width, field) / math.sqrt(field) for field in fields], dim=1)
        )
        self.tasks = nn.Parameter(torch.randn(len(tasks), config.width) / math.sqrt(config.width))
        self.feature_feature, self.task_task, self.task_feature = (
            Attention(config.width, config.heads) for _ in range(3)
        )
        self.layers = nn.ModuleList(MLP(config.width, config.expert, config.dropout) for _ in tasks)
        self.towers = nn.ModuleList(
            Tower(config.expert[-1], config.tower, config.dropout, task.columns) for task in tasks
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Relate the features of x [B, D], and the tasks, then each task to the features."""
        projection = self.projection.to(x.dtype)
        z = torch.stack([F.linear(x[:, own], projection[:, own]) for own in self.columns], dim=1)  # [B, F, d]
        length = z.square().sum(dim=2).clamp(min=_SHORTEST_SQUARED).log() / 2.0  # [B, F], in logarithms
        features = normal(z + self.feature_feature(z, z, length))  # [B, F, d]
        tasks = self.tasks.to(x.dtype).unsqueeze(0)
        tasks = normal(tasks + self.task_task(tasks, tasks))  # [1, T, d]
        whole = z.sum(dim=1, keepdim=True)  # [B, 1, d]
        read = normal(whole + self.task_feature(tasks, features, length))  # [B, T, d]
        each = zip(self.towers, self.layers, read.unbind(1), strict=True)
        return [tower(layers(own)) for tower, layers, own in each]

    def experts(self) -> list[NamedExpert]:
        """Each task's own layers. It has no gates: what it weighs are features and tasks, by attention."""
        return [NamedExpert(1, f"{name} 1", own) for name, own in zip(self.names, self.layers, strict=True)]


class Attention(nn.Module):
    """Queries [B or 1, Q, d], values [B or 1, V, d] -> what each query reads, [B or 1, Q, d].

    With `length` [B, V], the logarithm of what each value's weight is in proportion to, beside its likeness.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (Linear(width, width, bias=False) for _ in range(4))
        self.sharpness = nn.Parameter(torch.ones(heads, 1, 1))

    def forward(self, queries: Tensor, values: Tensor, length: Tensor | None = None) -> Tensor:  # noqa: D102
        asked = normal(self._parted(self.query(queries)))  # [B, H, Q, d / H]
        keys = normal(self._parted(self.key(values)))  # [B, H, V, d / H]
        sharpness = self.sharpness.to(keys.dtype) / math.sqrt(keys.shape[3])
        alike = asked * sharpness @ keys.transpose(2, 3)  # [B, H, Q, V]
        if length is not None:
            alike = alike + length[:, None, None, :]
        found = torch.softmax(alike, dim=-1) @ self._parted(self.value(values))  # [B, H, Q, d / H]
        read: Tensor = self.out(found.transpose(1, 2).flatten(2))
        return read

    def _parted(self, projected: Tensor) -> Tensor:
        """[B, V, d] -> [B, H, V, d / H]."""
        parted: Tensor = projected.unflatten(2, (self.heads, -1))  # type: ignore[no-untyped-call]
        return parted.transpose(1, 2)
