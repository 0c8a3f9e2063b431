"""Experts side by side: several MLPs of equal widths that read the same input, calculated for speed.

Gives what each expert alone gives, to rounding, from the same parameters. Training calculates this way, where
batches are large; an exported graph has each expert by itself. Knows nothing about gates, tasks or levels.

Both passes are written out, as layers of experts are larger than the cache: each expert goes through all its
layers before the next one begins, and only what all share is one product, the way back to the input.

Shapes: B rows, D width of the input, E experts, K gates, H width of a hidden layer, W width of an output.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from model.network.layers.dropout import kept_scale, scaled_mask
from model.network.layers.mlp import MLP


def side_by_side(experts: Sequence[MLP], x: Tensor) -> Tensor:
    """What each expert makes of the same x: [B, D] -> [E, B, W]."""
    layers = []
    for same in zip(*(expert.linears for expert in experts), strict=True):
        layers.append(torch.stack([layer.weight for layer in same]).to(x.dtype))  # [E, H, D]
        layers.append(torch.stack([layer.bias for layer in same]).to(x.dtype))  # [E, H]
    rate = experts[0].dropout if experts[0].training else 0.0
    output: Tensor = _Experts.apply(x, rate, *layers)  # type: ignore[no-untyped-call]
    return output


def outputs_of(experts: Sequence[MLP], x: Tensor) -> list[Tensor]:
    """What experts of equal widths make of the same x, E of [B, W]; side by side in training alone."""
    if experts[0].training:
        return list(side_by_side(experts, x).unbind(0))
    return [expert(x) for expert in experts]


def mix(weights: Tensor, experts: Tensor) -> Tensor:
    """Add experts up by the weights of several gates at once: [B, K, E] and [E, B, W] -> [B, K, W]."""
    return torch.bmm(weights, experts.transpose(0, 1).contiguous())


class _Experts(torch.autograd.Function):
    """Layers of relu(W h + b) and dropout: x [B, D] and [E, H, D], [E, H] by layer -> [E, B, W]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rate: float, *layers: Tensor) -> Tensor:
        weights, biases = layers[::2], layers[1::2]
        outputs = [x.new_empty((len(w), len(x), w.shape[1])) for w in weights]  # [E, B, H] by layer
        for expert in range(len(weights[0])):
            h = x
            for weight, bias, out in zip(weights, biases, outputs, strict=True):
                _linear_relu(h, weight[expert], bias[expert], out[expert])
                h = out[expert]
                if rate > 0.0:
                    h.mul_(scaled_mask(h, rate))
        ctx.rate = rate
        ctx.save_for_backward(x, *weights, *outputs)
        return outputs[-1]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        depth = len(saved) // 2
        weights, outputs = saved[:depth], saved[depth:]
        weight_gradients = [torch.empty_like(weight) for weight in weights]
        bias_gradients = [weight.new_empty(weight.shape[:2]) for weight in weights]
        scale = kept_scale(ctx.rate)
        joined = x.new_empty(
            (len(x), *weights[0].shape[:2])
        )  # [B, E, H]: of the first layer, before its ReLU
        # Gates mix row by row; moving rows together once is cheaper than reading them apart.
        gradient = gradient.contiguous()
        for expert in range(len(weights[0])):
            g = gradient[expert]
            for layer in range(depth - 1, 0, -1):
                g = _BEFORE_RELU(g, outputs[layer][expert], 0.0)
                if scale != 1.0:
                    g.mul_(scale)
                torch.mm(g.t(), outputs[layer - 1][expert], out=weight_gradients[layer][expert])
                torch.sum(g, 0, out=bias_gradients[layer][expert])
                g = g @ weights[layer][expert]
            # A unit is zero where ReLU or dropout made it so; either way nothing goes back.
            _BEFORE_RELU.grad_input(g, outputs[0][expert], 0.0, grad_input=joined[:, expert])
        if scale != 1.0:
            joined.mul_(scale)
        flat = joined.flatten(1)  # [B, E * H]
        torch.mm(flat.t(), x, out=weight_gradients[0].flatten(0, 1))
        torch.sum(flat, 0, out=bias_gradients[0].flatten())
        pairs = zip(weight_gradients, bias_gradients, strict=True)
        return flat @ weights[0].flatten(0, 1), None, *(each for pair in pairs for each in pair)


def _linear_relu(x: Tensor, weight: Tensor, bias: Tensor, out: Tensor) -> None:
    """relu(W x + b) of one expert: [B, D], [H, D], [H], into [B, H]."""
    if _FUSED is not None and x.dtype is torch.bfloat16 and x.device.type == "cpu":
        out.copy_(_FUSED(x, weight, bias, "relu", [], ""))
    else:
        torch.addmm(bias, x, weight.t(), out=out).relu_()


_BEFORE_RELU = torch.ops.aten.threshold_backward
_FUSED = None
if torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported():  # type: ignore[no-untyped-call]
    # Product, bias and ReLU in one pass: what torch's own compiler calls. A build may lack it, and on a
    # processor without bfloat16 it raises; two passes do the same.
    _FUSED = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
