"""Budget: what a trunk costs, and networks made to cost the same.

A network with more weights may win by these alone. So each is scaled until it costs what the recipe's own
does, embeddings and input layers aside, which all share. Knows trunks, neither rows nor training.

Shapes: D width of a trunk's input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch.utils.flop_counter import FlopCounterMode

from model.network.config import TrunkConfig
from model.network.heads import TaskHead
from model.network.trunks import build_trunk, network_config

Match = Literal["parameters", "flops", "none"]

CLOSE = 0.02
"""A budget is matched that differs by no more. Few narrow layers cannot always: widths are whole numbers."""

_ROWS = 8
_HALVINGS = 9
_STEPS = 2
_EXACT = 3e-3
_NARROWEST = 1e-3
_WIDEST_STEP = 16
_PRIME = 101


@dataclass(frozen=True)
class Budget:
    """What a trunk costs; of single-task models, the sum over the tasks' separate ones.

    Attributes:
        parameters: weights and biases of experts, gates and towers.
        flops: floating-point operations of matrix products for one row; multiply and add count as two.
    """

    parameters: int
    flops: float

    def of(self, match: Match) -> float:
        """What is matched."""
        return self.flops if match == "flops" else float(self.parameters)


def measure(config: TrunkConfig, fields: Sequence[int], tasks: Sequence[TaskHead], *, apart: bool) -> Budget:
    """The budget of a trunk, which is built without memory.

    Args:
        config: of the trunk.
        fields: widths of the features in its input, which sum to D.
        tasks: the heads of all tasks.
        apart: whether each task has a trunk of its own.

    Raises:
        ValueError: the config does not fit the tasks.
    """
    parts = [
        _measure_one(config, fields, some) for some in ([[task] for task in tasks] if apart else [tasks])
    ]
    return Budget(sum(part.parameters for part in parts), sum(part.flops for part in parts))


def matched(
    config: TrunkConfig,
    fields: Sequence[int],
    tasks: Sequence[TaskHead],
    *,
    apart: bool,
    match: Match,
    target: Budget,
) -> tuple[TrunkConfig, Budget]:
    """The config with the widths of its experts scaled so that it costs as much as `target`; and its budget.

    One factor scales all layers of all experts; towers stay. What rounding leaves is mended at the first
    layer, which no other width depends on.
    """
    own = measure(config, fields, tasks, apart=apart)
    if match == "none" or abs(own.of(match) / target.of(match) - 1) <= _EXACT:
        return config, own

    wanted, costs = target.of(match), dict[str, float]()

    def cost(candidate: TrunkConfig) -> float:
        key = candidate.model_dump_json()
        if key not in costs:
            costs[key] = measure(candidate, fields, tasks, apart=apart).of(match)
        return costs[key]

    # Between its square and its first power, by how much of it is the first layer's.
    guess = (wanted / own.of(match)) ** 0.7
    low, high = guess / 2, guess * 2
    while cost(scaled(config, low)) > wanted and low > _NARROWEST:
        low /= 2
    while cost(scaled(config, high)) < wanted and high < 1 / _NARROWEST:
        high *= 2
    for _ in range(_HALVINGS):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if cost(scaled(config, middle)) < wanted else (low, middle)
    candidates = [scaled(config, factor) for factor in (low, high)]
    if hasattr(config, "width"):
        # Its attention grows in large steps: the experts alone take up what is left.
        narrow, less, more = candidates[0], 1.0, 32.0
        for _ in range(_HALVINGS):
            middle = (less * more) ** 0.5
            fits = cost(scaled(narrow, middle, attention=False)) < wanted
            less, more = (middle, more) if fits else (less, middle)
        candidates += [scaled(narrow, factor, attention=False) for factor in (less, more)]
    nearest = min(candidates, key=lambda candidate: abs(cost(candidate) - wanted))
    if abs(cost(nearest) / wanted - 1) > _EXACT:
        candidates += [nudged(nearest, by) for by in range(-_STEPS, _STEPS + 1)]
    best = min(candidates, key=lambda candidate: abs(cost(candidate) - wanted))
    return best, measure(best, fields, tasks, apart=apart)


def scaled(config: TrunkConfig, factor: float, *, attention: bool = True) -> TrunkConfig:
    """With its widths times a factor, in whole numbers that the network can have."""
    step = _step(config)
    return _with_widths(
        config, lambda widths: [max(1, round(w * factor / step)) * step for w in widths], attention=attention
    )


def nudged(config: TrunkConfig, by: int) -> TrunkConfig:
    """With the experts' first layers so many steps wider, where there are layers behind them."""
    step = _step(config)
    return _with_widths(
        config, lambda widths: [max(step, widths[0] + by * step), *widths[1:]] if len(widths) > 1 else widths
    )


def _step(config: TrunkConfig) -> int:
    """What all widths must be a multiple of, as some networks part their layers."""
    for step in range(1, _WIDEST_STEP + 1):
        try:
            _with_widths(config, lambda widths, step=step: [step * _PRIME for _ in widths])  # type: ignore[misc]
        except ValueError:
            continue
        return step
    return 1


def _with_widths(
    config: TrunkConfig, change: Callable[[list[int]], list[int]], *, attention: bool = False
) -> TrunkConfig:
    def each(widths: Any) -> Any:
        if isinstance(widths, Mapping):
            return {key: each(value) for key, value in widths.items()}
        return change(widths)

    settings = config.model_dump(mode="json")
    changed = {"expert": each(settings["expert"])}
    if attention and "width" in settings:
        # Attention (MRAN) costs more than its experts: scaled by these alone, nothing would be left of them.
        heads = settings.get("heads", 1)
        changed["width"] = max(1, round(change([settings["width"]])[0] / heads)) * heads
    return network_config({**settings, **changed})


def _measure_one(config: TrunkConfig, fields: Sequence[int], tasks: Sequence[TaskHead]) -> Budget:
    with torch.device("meta"):
        trunk = build_trunk(config, fields=fields, tasks=tasks).eval()
        x = torch.empty(_ROWS, sum(fields))
    # The counter follows tensors that want a gradient, which an inference mode has none of.
    trunk.requires_grad_(False)
    with FlopCounterMode(display=False) as counter:
        trunk(x)
    parameters = sum(parameter.numel() for parameter in trunk.parameters())
    return Budget(parameters, counter.get_total_flops() / _ROWS)
