"""Formulas: what each formula, segments, calibration and exploring cost a ranking, over `log_power`.

One service holds them all as scenes, so a request differs from its pair in the scene alone.

    python -m benchmarks.formulas [--turns 20]
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import torch
import typer
from rich.table import Table

from benchmarks.load import Line
from benchmarks.rig import HOME, console, pinned_service, requests_of
from benchmarks.turns import interval

TASKS = ("vtr", "vcr", "shr", "cmr")
LENGTH = {"kind": "log", "scale_s": 30.0, "weight": 0.5}
PLATT = {"kind": "platt", "a": -0.1, "b": 0.9}
STEPS = {"kind": "isotonic", "points": [[step / 50, (step / 50) ** 1.1] for step in range(51)]}
BUCKETS = ({"below": 10}, {"from": 10, "below": 30}, {"from": 30})


def product(**more: Any) -> dict[str, Any]:
    """A `log_power` scene."""
    tasks = {task: {"weight": 1.0 / place, "smoothing": 0.01} for place, task in enumerate(TASKS, 1)}
    return {"tasks": tasks, "video_len": LENGTH, **more}


def scenes(network: Path) -> dict[str, Any]:
    """By name: a scene each for what is measured."""
    prices = {"vcr": {"price": 0.5, "price_per_s": 0.02}, "shr": {"price": 15.0}, "cmr": {"price": 12.0}}
    groups = [
        {"name": f"group {tab}", "when": {"u0": str(tab)}, "tasks": {"vtr": {"weight": 2.0}}}
        for tab in range(20)
    ]
    by_length = {"map": PLATT, "segments": [{"when": {"video_len_s": one}, "map": STEPS} for one in BUCKETS]}
    learned = {
        "formula": "model",
        "file": network.name,
        "sha256": hashlib.sha256(network.read_bytes()).hexdigest(),
        "inputs": [*TASKS, "video_len_s"],
        "fallback": "default",
    }
    return {
        "default": product(),
        "model": learned,
        "weighted_sum": {"formula": "weighted_sum", "tasks": prices, "video_len": LENGTH},
        "rank_ensemble": {
            "formula": "rank_ensemble",
            "tasks": {task: {"weight": 1.0} for task in TASKS},
            "video_len": LENGTH,
        },
        "20 segments": product(segments=groups),
        "calibrated": product(calibration={task: {"map": PLATT} for task in TASKS}),
        "calibrated by length": product(calibration=dict.fromkeys(TASKS, by_length)),
        "exploring": product(explore={"share": 1.0, "noise": 0.2}),
    }


def monotone_network(path: Path) -> None:
    """A network of 5, 32, 32 and 1 whose weights are positive: no raised p lowers a score."""

    class Monotone(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            sizes = [(len(TASKS) + 1, 32), (32, 32), (32, 1)]
            self.weights = torch.nn.ParameterList(torch.rand(size) for size in sizes)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            *tasks, length = inputs.split(1, dim=1)
            seconds = torch.log1p(torch.nan_to_num(length, 30.0).clamp(0.0, 600.0))
            x = torch.cat([*tasks, seconds], dim=1)
            for weight in self.weights:
                x = torch.tanh(x @ weight / weight.shape[0])
            return x[:, 0]

    torch.manual_seed(0)
    rows = torch.export.Dim("rows")
    torch.onnx.export(
        Monotone().eval(),
        (torch.rand(3, len(TASKS) + 1),),
        path,
        dynamo=True,
        external_data=False,
        input_names=["inputs"],
        output_names=["score"],
        dynamic_shapes=({0: rows},),
        verbose=False,
    )


def main(
    turns: int = typer.Option(20, help="Of all scenes, one after another."),
    requests: int = typer.Option(40, help="Of a scene, in a turn, at 500 candidates; a tenth at 5,000."),
) -> None:
    """Print medians over `log_power` with their 95 % intervals."""
    with TemporaryDirectory() as folder:
        network, fusion = Path(folder) / "score.onnx", Path(folder) / "fusion.yaml"
        monotone_network(network)
        config = {"schema_version": 1, "scenes": scenes(network)}
        fusion.write_text(orjson.dumps(config).decode())
        table = Table(
            "scene",
            *(
                f"{n:,} candidates: ms" if i == 0 else "over log_power, 95 %"
                for n in (500, 5_000)
                for i in (0, 1)
            ),
        )
        columns = {}
        with (
            pinned_service(features=str(HOME / "features"), fusion=fusion, max_candidates=5_000) as service,
            Line(service.url) as line,
        ):
            for candidates in (500, 5_000):
                columns[candidates] = _measured(
                    line, list(config["scenes"]), candidates, turns, requests * 500 // candidates or 3
                )
    for name in config["scenes"]:
        cells = [name]
        for candidates in (500, 5_000):
            took, ratios = (
                columns[candidates][name],
                columns[candidates][name] / columns[candidates]["default"],
            )
            low, high = interval(ratios)
            cells += [f"{np.median(took) * 1e3:.2f}", f"{np.median(ratios):.3f} ({low:.3f} to {high:.3f})"]
        table.add_row(*cells)
    console.print(table)


def _measured(
    line: Line, names: list[str], candidates: int, turns: int, requests: int
) -> dict[str, npt.NDArray[np.float64]]:
    """By scene: the median seconds of a request in each turn."""
    body = requests_of(candidates)
    made = {name: [_of_scene(body(number), name) for number in range(64)] for name in names}
    took: dict[str, list[float]] = {name: [] for name in made}
    for turn in range(-1, turns):  # the first is for warmth
        for name in names if turn % 2 else names[::-1]:
            replies = [line.post(made[name][number % 64]) for number in range(requests)]
            assert all(reply.status == 200 and not reply.degraded for reply in replies), replies[0].body
            if turn >= 0:
                took[name].append(float(np.median([reply.seconds for reply in replies])))
    return {name: np.array(seconds) for name, seconds in took.items()}


def _of_scene(body: bytes, scene: str) -> bytes:
    return orjson.dumps(orjson.loads(body) | {"scene": scene, "user_features": {"u0": "19"}})


if __name__ == "__main__":
    typer.run(main)
