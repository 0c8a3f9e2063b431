"""What holds of every trunk: checks that each network's tests ask for by one call."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from model.network.trunk import Trunk
from tests.model.network.trunks.literal import Vector


def randomised(trunk: Trunk) -> Trunk:
    """In float64 and evaluation, every parameter filled in, so that no zero hides a term."""
    trunk = trunk.double().eval()
    for parameter in trunk.parameters():
        nn.init.normal_(parameter)
    return trunk


def equals_literally(trunk: Trunk, literal: Callable[[Vector], list[float]], inputs: int) -> None:
    """For one row, for few and for many: outputs are what a reading of one row at a time gives."""
    for rows in (1, 2, 13):
        x = torch.randn(rows, inputs, dtype=torch.float64)
        outputs = torch.cat(trunk(x), dim=1).detach().numpy()
        np.testing.assert_allclose(outputs, [literal(row) for row in x.numpy()], rtol=1e-6, atol=1e-6)


def learns_in_training_what_it_learns_in_evaluation(trunk: Trunk, inputs: int) -> None:
    """Outputs and gradients are the same on both paths."""
    x = torch.randn(9, inputs, dtype=torch.float64)

    def outputs_and_gradients(training: bool) -> list[Tensor]:
        trunk.zero_grad()
        source = x.clone().requires_grad_()
        outputs = torch.cat(trunk.train(training)(source), dim=1)
        (outputs.square() * torch.arange(1, outputs.shape[1] + 1)).sum().backward()
        return [outputs, source.grad, *(parameter.grad for parameter in trunk.parameters())]  # type: ignore[list-item]

    for fast, slow in zip(outputs_and_gradients(True), outputs_and_gradients(False), strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-9, atol=1e-9)


def every_parameter_learns(trunk: Trunk, inputs: int) -> None:
    trunk.train()
    sum(output.sum() for output in trunk(torch.randn(64, inputs))).backward()
    assert [name for name, p in trunk.named_parameters() if p.grad is None or not p.grad.any()] == []


def a_row_alone_gives_what_it_gives_in_a_batch(trunk: Trunk, inputs: int) -> None:
    x = torch.randn(40, inputs, dtype=torch.float64)
    together = torch.cat(trunk(x), dim=1)
    alone = torch.cat([torch.cat(trunk(row), dim=1) for row in x.split(1)])
    torch.testing.assert_close(alone, together, rtol=1e-12, atol=1e-12)
