"""The plain layers that experts and towers are made of. Knows nothing about tasks.

Shapes: B rows, D width.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from model.network.layers.dropout import Dropout


class Linear(nn.Linear):
    """A linear layer that calculates in the precision of its input, whatever its parameters are kept in."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002, D102 (the class says it)
        bias = None if self.bias is None else self.bias.to(input.dtype)
        return F.linear(input, self.weight.to(input.dtype), bias)


class MLP(nn.Sequential):
    """Linear layers, each followed by ReLU and dropout: [B, inputs] -> [B, widths[-1]].

    With no widths it passes its input on. Weights start He-normal and biases at zero, which keeps the
    activations' scale through the levels of a deep stack.
    """

    def __init__(self, inputs: int, widths: Sequence[int], dropout: float = 0.0) -> None:
        layers: list[nn.Module] = []
        for before, after in zip([inputs, *widths], widths, strict=False):
            linear = Linear(before, after)
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
            layers += [linear, nn.ReLU(), Dropout(dropout)]
        super().__init__(*layers)
        self.widths = tuple(widths)
        self.dropout = dropout

    @property
    def linears(self) -> list[Linear]:
        """Its linear layers, first to last."""
        return [layer for layer in self if isinstance(layer, Linear)]


class Tower(nn.Module):
    """A task's own head on its last fusion: hidden layers, then linear values. [B, inputs] -> [B, outputs].

    The values are calculated in the precision of the parameters: they are few, and the loss reads them as
    they are.
    """

    def __init__(self, inputs: int, widths: Sequence[int], dropout: float = 0.0, outputs: int = 1) -> None:
        super().__init__()
        self.hidden = MLP(inputs, widths, dropout)
        self.output = nn.Linear([inputs, *widths][-1], outputs)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102 (the class says it)
        output: Tensor = self.output(self.hidden(x).to(self.output.weight.dtype))  # [B, outputs]
        return output
