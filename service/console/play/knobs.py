"""Knobs: the numbers of a scene that a slider can change. Works on a config's document, knows no page.

A scene is what `GET /v1/fusion` has of it: canonical JSON. Where a knob's value is 0 it may be absent there.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Path = tuple[str | int, ...]
Document = dict[str, Any]

MAX_WEIGHT, MAX_PRICE = 100.0, 1e6
_TINY = 1e-6
"""Where a slider in logarithms begins; left of it is 0, where 0 is allowed."""
STEPS = 400
"""Of a slider."""


@dataclass(frozen=True)
class Knob:
    """One number.

    Attributes:
        path: where it stands in the scene.
        group: the task, or `video_len`, `formula`.
        label: what it is: `weight`.
        unit: `s`, or nothing.
        value: what it is now.
        low, high: ends of the slider.
        least, most: what is allowed.
        log: whether the slider moves by factors.
    """

    path: Path
    group: str
    label: str
    value: float
    low: float
    high: float
    least: float
    most: float
    unit: str = ""
    log: bool = False

    @property
    def name(self) -> str:
        """For people who hear it: `vtr weight`."""
        return f"{self.group} {self.label}" + (f" in {self.unit}" if self.unit else "")

    def at(self, value: float) -> int:
        """The slider's position for a value, 0 to STEPS."""
        if self.log:
            if value <= self.low:
                return 0 if value < self.low or self.least > 0.0 else 1
            share = math.log(value / self.low) / math.log(self.high / self.low)
            return max(1, min(STEPS, round(share * STEPS)))
        return max(0, min(STEPS, round((value - self.low) / (self.high - self.low) * STEPS)))

    def of(self, position: float) -> float:
        """The value of a slider's position, in three digits."""
        if self.log:
            if position <= 0 and self.least <= 0.0:
                return 0.0
            value = self.low * (self.high / self.low) ** (position / STEPS)
        else:
            value = self.low + (self.high - self.low) * position / STEPS
            if abs(value) < (self.high - self.low) / STEPS / 2:
                value = 0.0
        return min(max(float(f"{value:.3g}"), self.least), self.most)


KINDS = ("none", "log", "sigmoid", "lognormal", "piecewise", "table")
"""Of f(video_len)."""
_FIRST: Mapping[str, Document] = {
    "none": {},
    "log": {"scale_s": 30.0},
    "sigmoid": {"mid_s": 10.0, "width_s": 5.0},
    "lognormal": {"mode_s": 30.0, "sigma": 1.0},
    "piecewise": {"points": [[0.0, 0.5], [15.0, 1.0], [60.0, 1.0], [300.0, 0.5]]},
    "table": {"edges_s": [7.0, 30.0, 120.0], "values": [0.5, 1.0, 1.0, 0.7]},
}


def knobs(scene: Mapping[str, Any], tasks: Sequence[str] = ()) -> list[Knob]:
    """What can be changed of a scene.

    Args:
        scene: its document.
        tasks: of the bundle; those that the scene leaves out have weight 0.
    """
    formula, own = scene["formula"], scene.get("tasks", {})
    if formula == "model":
        return []
    named = [*own, *(task for task in tasks if task not in own)]
    found: list[Knob] = []
    if formula == "weighted_sum":
        most = max([abs(term.get("price", 0.0)) for term in own.values()], default=0.0)
        per_s = max([abs(term.get("price_per_s", 0.0)) for term in own.values()], default=0.0)
        for task in named:
            term = own.get(task, {})
            found.append(_weight(("tasks", task, "price"), task, "price", term, most, MAX_PRICE))
            if per_s:
                path = ("tasks", task, "price_per_s")
                found.append(_weight(path, task, "price per second", term, per_s, MAX_PRICE))
    else:
        for task in named:
            term = own.get(task, {})
            found.append(_weight(("tasks", task, "weight"), task, "weight", term, 1.0, MAX_WEIGHT))
            if formula == "log_power":
                path = ("tasks", task, "smoothing")
                found.append(_factor(path, task, "smoothing", term.get("smoothing", 0.0), 1.0, 0.0))
    if formula == "rank_ensemble":
        found.append(_factor(("k",), "formula", "k", scene.get("k", 60.0), 1000.0, 0.0, low=1.0))
    return [*found, *_length(scene.get("video_len", {"kind": "none"}))]


def with_value(scene: Mapping[str, Any], path: Path, value: float) -> Document:
    """The scene with another number there."""
    changed = copy.deepcopy(dict(scene))
    at: Any = changed
    for key in path[:-1]:
        at = at.setdefault(key, {}) if isinstance(at, dict) else at[key]
    at[path[-1]] = value
    if len(path) == 3 and path[0] == "tasks" and changed["formula"] != "weighted_sum":
        at.setdefault("weight", 0.0)
    return changed


def with_kind(scene: Mapping[str, Any], kind: str) -> Document:
    """The scene with another kind of f(video_len), at values to begin with; its weight stays."""
    old = scene.get("video_len", {"kind": "none"})
    if old["kind"] == kind:
        return dict(scene)
    kept = {name: old[name] for name in ("weight", "missing") if name in old}
    return copy.deepcopy({**scene, "video_len": {**kept, "kind": kind, **_FIRST[kind]}})


def fixed_parts(scene: Mapping[str, Any]) -> list[str]:
    """What a scene has that no slider changes, in words."""
    says = []
    if scene["formula"] == "model":
        says.append(
            f"A network scores here: {scene['file']}, of {', '.join(scene['inputs'])}. It has no weights: "
            "another score is another network, which `fulcrum tune` finds and `fulcrum fusion propose` "
            f"sends. Where it fails, scene {scene['fallback']} ranks, whose weights have sliders."
        )
    segments = scene.get("segments") or []
    if segments:
        names = ", ".join(one["name"] for one in segments)
        says.append(
            f"Segments have weights of their own, which sliders leave as they are: {names}. "
            "Change them in the text, under Propose."
        )
    if scene.get("calibration"):
        says.append(f"Calibrated before the formula: {', '.join(scene['calibration'])}.")
    if scene.get("explore"):
        law = scene["explore"]
        says.append(f"Explores: {100 * law['share']:g} % of requests, noise {law['noise']:g}.")
    return says


def _weight(path: Path, task: str, label: str, term: Mapping[str, Any], usual: float, most: float) -> Knob:
    """From 0 to twice what is usual, both ways where it is negative."""
    value = float(term.get(str(path[-1]), 0.0))
    high = _rounded_up(max(2.0 * (usual or 1.0), 1.5 * abs(value)))
    return Knob(path, task, label, value, -high if value < 0.0 else 0.0, high, -most, most)


def _factor(
    path: Path,
    group: str,
    label: str,
    value: float,
    high: float,
    least: float,
    low: float = _TINY,
    unit: str = "",
) -> Knob:
    low = min(low, value / 10.0) if value > 0.0 else low
    return Knob(path, group, label, float(value), low, max(high, 10.0 * value), least, 1e12, unit, log=True)


def _length(length: Mapping[str, Any]) -> Iterator[Knob]:
    kind = length["kind"]
    if kind == "none":
        return
    at, group = ("video_len",), "video_len"
    weight = {"weight": length.get("weight", 1.0)}
    yield _weight((*at, "weight"), group, "weight", weight, 1.0, MAX_WEIGHT)
    for name, label, high in (
        ("scale_s", "scale", 600.0),
        ("width_s", "width", 600.0),
        ("mode_s", "mode", 600.0),
        ("sigma", "sigma", 10.0),
    ):
        if name in length:
            unit = "s" if name.endswith("_s") else ""
            yield _factor((*at, name), group, label, length[name], high, 1e-9, low=0.1, unit=unit)
    if "mid_s" in length:
        mid = float(length["mid_s"])
        high = _rounded_up(max(120.0, 1.5 * abs(mid)))
        yield Knob(
            (*at, "mid_s"), group, "middle", mid, min(0.0, -high if mid < 0 else 0.0), high, -1e9, 1e9, "s"
        )
    for index, (seconds, f) in enumerate(length.get("points", ())):
        yield _curve((*at, "points", index, 1), f"f at {seconds:g} s", f)
    edges = [0.0, *length.get("edges_s", ())]
    for index, f in enumerate(length.get("values", ())):
        to = f"to {edges[index + 1]:g} s" if index + 1 < len(edges) else "on"
        yield _curve((*at, "values", index), f"f from {edges[index]:g} s {to}", f)
    yield _curve((*at, "missing"), "f where unknown", length.get("missing", 1.0), 1e-3)


def _curve(path: Path, label: str, value: float, least: float = 0.0) -> Knob:
    return Knob(path, "video_len", label, float(value), 0.0, _rounded_up(max(2.0, 1.5 * value)), least, 1e12)


def _rounded_up(value: float) -> float:
    """To a number of one digit, or 1.5 or 2.5, times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    steps = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0)
    return next(power * step for step in steps if power * step >= value * (1.0 - 1e-9))
