"""Utilisation: what a network's gates choose, and which units of its experts never fire.

Watches gates and experts while validation rows pass, and puts the seeds together. Knows trunks by their
`gates()` and `experts()` alone.

Shapes: B rows of a batch, E experts of a gate, W width of an expert.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from model.network.trunk import NamedGate, Trunk

MONOPOLY = 0.9
"""A gate that gives more than this to one side has in effect made its choice for every row."""


class _GateSums:
    """Of a gate's weights over rows."""

    def __init__(self, gate: NamedGate) -> None:
        self.gate = gate
        self.rows = 0
        self.sums = torch.zeros(len(gate.experts), dtype=torch.float64)
        self.squares = torch.zeros(len(gate.experts), dtype=torch.float64)

    def __call__(self, _module: nn.Module, _inputs: Any, weights: Tensor) -> None:  # [B, E]
        wide = weights.detach().cpu().double()
        self.rows += len(wide)
        self.sums += wide.sum(0)
        self.squares += wide.square().sum(0)

    def found(self) -> dict[str, Any]:
        mean = self.sums / self.rows
        deviation = (self.squares / self.rows - mean.square()).clamp(min=0).sqrt()
        return {
            "level": self.gate.level,
            "reader": self.gate.reader,
            "experts": list(self.gate.experts),
            "mean": mean.tolist(),
            "deviation": deviation.tolist(),
        }


class _Fired:
    """Which of an expert's units were above zero for any row."""

    def __init__(self, level: int, name: str) -> None:
        self.level, self.name = level, name
        self.fired: Tensor | None = None

    def __call__(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:  # [B, W]
        now = (output.detach() > 0).any(0).cpu()
        self.fired = now if self.fired is None else self.fired | now

    def found(self) -> dict[str, Any]:
        dead = None if self.fired is None else float((~self.fired).double().mean())
        return {"level": self.level, "name": self.name, "dead": dead}


class Watch:
    """Looks on while a network in evaluation predicts, within `with`."""

    def __init__(self, trunk: Trunk) -> None:
        self._gates = [_GateSums(gate) for gate in trunk.gates()]
        self._experts = [(_Fired(named.level, named.name), named.expert) for named in trunk.experts()]
        self._hooks: list[RemovableHandle] = []

    def __enter__(self) -> Watch:
        self._hooks = [sums.gate.gate.register_forward_hook(sums) for sums in self._gates]
        self._hooks += [expert.register_forward_hook(fired) for fired, expert in self._experts]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hook in self._hooks:
            hook.remove()

    def found(self) -> dict[str, Any]:
        """`gates` and `experts`, as a run's record has them."""
        gates = [sums.found() for sums in self._gates if sums.rows]
        return {"gates": gates, "experts": [fired.found() for fired, _ in self._experts]}


def over_seeds(runs: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> dict[str, Any] | None:
    """One network's runs put together; None where it has no gates.

    Experts of one kind are exchangeable: which of two shared experts is the first is chance, and a plain mean
    over seeds would make all gates look even. So in each run the experts of one kind and level are put in the
    order of the weight that all gates give them, the most used first.

    Args:
        runs: `utilisation` of each run, one a seed.
        tasks: names, in order.

    Returns:
        `gates`: level, reader, experts, `mean` and `deviation` over rows (means over seeds), `spread` of the
        mean over seeds, and `shared` (weight of shared experts, where the gate also sees its own).
        `differences`: for each level and pair of tasks the total variation distance of their mean weights.
        `dead`: for each level and kind of expert the mean share of dead units. `warnings`: in words.
    """
    ordered = [_most_used_first(run) for run in runs if run["gates"]]
    if not ordered:
        return None
    gates = []
    for place, gate in enumerate(ordered[0]):
        means = np.array([one[place]["mean"] for one in ordered])
        gates.append(
            {
                **{key: gate[key] for key in ("level", "reader", "experts")},
                "mean": means.mean(0).tolist(),
                "deviation": np.mean([one[place]["deviation"] for one in ordered], axis=0).tolist(),
                "spread": means.std(0).tolist(),
                "shared": _shared(gate, means.mean(0)),
            }
        )
    return {
        "seeds": len(ordered),
        "gates": gates,
        "differences": _differences(ordered, tasks),
        "dead": _dead(runs),
        "warnings": _warnings(gates, tasks),
    }


def _kind(expert: str) -> str:
    """`vtr 1` -> `vtr`: what an expert is one of."""
    kind, _, number = expert.rpartition(" ")
    return kind if kind and number.isdigit() else expert


def _most_used_first(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    used: dict[tuple[int, str], float] = defaultdict(float)
    for gate in run["gates"]:
        for expert, weight in zip(gate["experts"], gate["mean"], strict=True):
            used[gate["level"], expert] += weight
    found = []
    for gate in run["gates"]:
        level, names = gate["level"], gate["experts"]
        order: list[int] = []
        for kind in dict.fromkeys(map(_kind, names)):
            of_kind = [place for place, name in enumerate(names) if _kind(name) == kind]
            order += sorted(of_kind, key=lambda place: -used[level, names[place]])
        found.append(
            {**gate, **{key: [gate[key][place] for place in order] for key in ("mean", "deviation")}}
        )
    return found


def _shared(gate: Mapping[str, Any], mean: Any) -> float | None:
    shared = [_kind(name) == "shared" for name in gate["experts"]]
    if all(shared) or not any(shared) or gate["reader"] in ("shared", "all"):
        return None
    return float(mean[shared].sum())


def _differences(
    ordered: Sequence[Sequence[Mapping[str, Any]]], tasks: Sequence[str]
) -> list[dict[str, Any]]:
    levels = sorted({gate["level"] for gate in ordered[0]})
    found = []
    for level in levels:
        for place, one in enumerate(tasks):
            for other in tasks[place + 1 :]:
                pairs = [[_weights(gates, level, reader) for reader in (one, other)] for gates in ordered]
                if any(not a or not b for a, b in pairs):
                    continue
                everyone = [_distance(a, b) for a, b in pairs]
                together = sum(name in pairs[0][1] for name in pairs[0][0]) > 1
                common = [_distance(*_in_common(a, b)) for a, b in pairs]
                found.append(
                    {
                        "level": level,
                        "tasks": [one, other],
                        "distance": float(np.mean(everyone)),
                        "range": [float(np.min(everyone)), float(np.max(everyone))],
                        "distance_in_common": float(np.mean(common)) if together else None,
                    }
                )
    return found


def _weights(gates: Sequence[Mapping[str, Any]], level: int, reader: str) -> dict[str, float]:
    for gate in gates:
        if gate["level"] == level and gate["reader"] == reader:
            return dict(zip(gate["experts"], gate["mean"], strict=True))
    return {}


def _in_common(one: dict[str, float], other: dict[str, float]) -> list[dict[str, float]]:
    """Both over the experts that both see, summing to one again."""
    common = [name for name in one if name in other]
    totals = [sum(weights[name] for name in common) or 1.0 for weights in (one, other)]
    return [
        {name: weights[name] / total for name in common}
        for weights, total in zip((one, other), totals, strict=True)
    ]


def _distance(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Total variation: half of the sum of absolute differences; 0 is the same, 1 nothing in common."""
    return sum(abs(one.get(name, 0.0) - other.get(name, 0.0)) for name in {**one, **other}) / 2


def _dead(runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    shares: dict[tuple[int, str], list[float]] = defaultdict(list)
    for run in runs:
        for expert in run["experts"]:
            if expert["dead"] is not None:
                shares[expert["level"], _kind(expert["name"])].append(expert["dead"])
    return [
        {"level": level, "experts": kind, "dead": float(np.mean(found)), "most": float(np.max(found))}
        for (level, kind), found in sorted(shares.items())
    ]


def _warnings(gates: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> list[str]:
    said = []
    for gate in gates:
        where = f"level {gate['level']}, gate of {gate['reader']}"
        shared = gate["shared"]
        if shared is not None and shared > MONOPOLY:
            said.append(f"{where}: shared experts have {shared:.0%} of the weight; its own are hardly used")
        elif shared is not None and shared < 1 - MONOPOLY:
            said.append(f"{where}: shared experts have {shared:.0%} of the weight; it hardly shares")
        elif gate["reader"] in (*tasks, "all") and len(gate["mean"]) > 1 and max(gate["mean"]) > MONOPOLY:
            most = gate["experts"][int(np.argmax(gate["mean"]))]
            said.append(f"{where}: {most} alone has {max(gate['mean']):.0%} of the weight")
    return said
