"""Experts side by side: several MLPs of equal widths calculated as a few large products.

Gives what each expert alone gives, to rounding, from the same parameters. Training calculates this way, where
batches are large; an exported graph has each expert by itself, which is faster there. Knows nothing about
gates, tasks or levels.

The backward passes are written out because autograd's own transpose whole activations and gradients between
the products; here only rows are moved.

Shapes: B rows, D width of the input, E experts, K gates, H width of a hidden layer, W width of an output.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from model.network.dropout import dropout
from model.network.mlp import MLP


def side_by_side(experts: Sequence[MLP], x: Tensor) -> Tensor:
    """What each expert makes of the same x: [B, D] -> [E, B, W]."""
    first, *others = zip(*(expert.linears for expert in experts), strict=True)
    rate = experts[0].dropout if experts[0].training else 0.0
    weight = torch.stack([layer.weight for layer in first]).to(x.dtype)  # [E, H, D]
    bias = torch.stack([layer.bias for layer in first]).to(x.dtype)  # [E, H]
    hidden = dropout(_OneSource.apply(x, weight, bias), rate)  # type: ignore[no-untyped-call]
    for layers in others:
        weight = torch.stack([layer.weight for layer in layers]).to(x.dtype)  # [E, W, H]
        bias = torch.stack([layer.bias for layer in layers]).to(x.dtype)  # [E, W]
        hidden = dropout(_OwnSource.apply(hidden, weight, bias), rate)  # type: ignore[no-untyped-call]
    return hidden


def mix(weights: Tensor, experts: Tensor) -> Tensor:
    """Add experts up by the weights of several gates at once: [B, K, E] and [E, B, W] -> [B, K, W]."""
    return torch.bmm(weights, experts.transpose(0, 1).contiguous())


class _OneSource(torch.autograd.Function):
    """relu(W_e x + b_e) of one x, whose gradient is one product: [B, D], [E, H, D], [E, H] -> [E, B, H]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        output = _linear_relu([x] * len(weight), weight, bias)  # [E, B, H]
        ctx.save_for_backward(x, weight, output)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, weight, output = ctx.saved_tensors
        before_relu = x.new_empty((len(x), len(output), output.shape[2]))  # [B, E, H]
        torch.ops.aten.threshold_backward.grad_input(
            gradient.transpose(0, 1), output.transpose(0, 1), 0.0, grad_input=before_relu
        )
        joined = before_relu.flatten(1)  # [B, E * H]
        return (
            joined @ weight.flatten(0, 1),
            (joined.t() @ x).view_as(weight),
            joined.sum(0).view(weight.shape[:2]),
        )


class _OwnSource(torch.autograd.Function):
    """relu(W_e h_e + b_e), each of its own h_e: [E, B, H], [E, W, H], [E, W] -> [E, B, W]."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        output = _linear_relu(hidden.unbind(), weight, bias)  # [E, B, W]
        ctx.save_for_backward(hidden, weight, output)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        hidden, weight, output = ctx.saved_tensors
        before_relu = torch.ops.aten.threshold_backward(gradient.contiguous(), output, 0.0)  # [E, B, W]
        return (
            torch.bmm(before_relu, weight),
            torch.bmm(before_relu.transpose(1, 2), hidden),
            before_relu.sum(1),
        )


def _linear_relu(inputs: Sequence[Tensor], weight: Tensor, bias: Tensor) -> Tensor:
    """relu(W_e x_e + b_e), one by one to stay in the cache: E of [B, D], [E, H, D], [E, H] -> [E, B, H]."""
    output = inputs[0].new_empty((len(inputs), len(inputs[0]), weight.shape[1]))
    for x, w, b, out in zip(inputs, weight, bias, output, strict=True):
        if _FUSED is not None and x.dtype is torch.bfloat16 and x.device.type == "cpu":
            out.copy_(_FUSED(x, w, b, "relu", [], ""))
        else:
            torch.addmm(b, x, w.t(), out=out).relu_()
    return output


# Product, bias and ReLU in one pass: what torch's own compiler calls. Where a build lacks it, two passes do.
_FUSED = (
    getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
)
