"""Layers read literally, one row at a time: what tests hold the trunks against."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.network.heads import TaskHead

Vector = NDArray[np.float64]


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
