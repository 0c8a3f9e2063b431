"""Layers read literally, one row at a time: what tests hold the trunks against."""

import math
import random
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.network.heads import TaskHead
from model.network.trunk import Trunk

Vector = NDArray[np.float64]


T = TypeVar("T", bound=Trunk)


def random_trunk(
    kind: type[T],
    seed: int,
    *,
    multiple: int = 1,
    names: Sequence[str] = (),
    **settings: Any,
) -> tuple[T, torch.Tensor]:
    """A trunk of random sizes in float64, its every parameter filled in, and rows for it to read."""
    draw = random.Random(seed)
    torch.manual_seed(seed)
    names = names or [f"task{k}" for k in range(draw.randint(1, 4))]
    inputs = draw.randint(1, 9)
    config = kind.config.model_validate(
        {
            "expert": [multiple * draw.randint(1, 6) for _ in range(draw.randint(1, 3))],
            "tower": [draw.randint(1, 5) for _ in range(draw.randint(0, 2))],
            **settings,
        }
    )
    trunk = kind(config, fields=(inputs,), tasks=heads(*names)).double().eval()
    for parameter in trunk.parameters():
        nn.init.normal_(parameter)
    return trunk, torch.randn(draw.randint(1, 13), inputs, dtype=torch.float64)


def outputs(trunk: Trunk, x: torch.Tensor) -> NDArray[np.float64]:
    """What a trunk of one column a task gives, [B, T]."""
    return torch.cat(trunk(x), dim=1).detach().numpy()


def two_layers(kind: type[T], *names: str, **settings: Any) -> tuple[T, torch.Tensor]:
    """A trunk large enough that no layer is dead by chance, as it is initialised, and rows for it to read."""
    torch.manual_seed(0)
    config = kind.config.model_validate({"expert": [16, 8], "tower": [8], **settings})
    return kind(config, fields=(6,), tasks=heads(*names)), torch.randn(64, 6)


def reached(trunk: Trunk, task: int, x: torch.Tensor) -> set[str]:
    """The parameters that a task's output depends on."""
    trunk.zero_grad()
    trunk(x)[task].sum().backward()
    return {
        name
        for name, parameter in trunk.named_parameters()
        if parameter.grad is not None and parameter.grad.any()
    }


def heads(*names: str) -> list[TaskHead]:
    """Binary tasks of these names."""
    return [TaskHead(name, "binary") for name in names]


def gate(weight: torch.Tensor, stream: Vector, experts: list[Vector]) -> Vector:
    scores = matrix(weight) @ stream
    assert len(scores) == len(experts)
    powers = [math.exp(score - max(scores)) for score in scores]
    fused = np.zeros_like(experts[0])
    for power, expert in zip(powers, experts, strict=True):
        fused = fused + power / sum(powers) * expert
    return fused


def mlp(layers: nn.Module, x: Vector) -> Vector:
    for layer in layers.children():
        if isinstance(layer, nn.Linear):
            x = np.maximum(matrix(layer.weight) @ x + matrix(layer.bias), 0.0)
    return x


def matrix(parameter: torch.Tensor) -> NDArray[np.float64]:
    return parameter.detach().numpy()


def tower(layers: nn.Module, x: Vector) -> float:
    """A tower's one output."""
    hidden = mlp(layers.hidden, x)
    return float(matrix(layers.output.weight)[0] @ hidden + matrix(layers.output.bias)[0])
