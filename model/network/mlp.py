"""The plain layers that experts and towers are made of. Knows nothing about tasks.

Shapes: B rows, D width.
"""

from collections.abc import Sequence

from torch import Tensor, nn


class MLP(nn.Sequential):
    """Linear layers, each followed by ReLU and dropout: [B, inputs] -> [B, widths[-1]].

    With no widths it passes its input on. Weights start He-normal and biases at zero, which keeps the
    activations' scale through the levels of a deep stack.
    """

    def __init__(self, inputs: int, widths: Sequence[int], dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for before, after in zip([inputs, *widths], widths, strict=False):
            linear = nn.Linear(before, after)
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.ReLU(), nn.Dropout(dropout)]
        super().__init__(*layers)


class Tower(nn.Module):
    """A task's own head on its last fusion: hidden layers, then one linear value. [B, inputs] -> [B]."""

    def __init__(self, inputs: int, widths: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden = MLP(inputs, widths, dropout)
        self.output = nn.Linear([inputs, *widths][-1], 1)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102 (the class says it)
        output: Tensor = self.output(self.hidden(x))  # [B, 1]
        return output.squeeze(-1)  # [B]
