"""Run folder: what one training leaves behind, so that it can be told apart, looked at and repeated.

    recipe.json      the whole recipe, defaults filled in
    run.json         seed, data fingerprint, environment, when
    metrics.jsonl    one object an epoch
    best.pt          weights of the best epoch

Knows nothing about how training goes.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson
import torch

from model.errors import FulcrumError
from training.recipe import Recipe

__all__ = ["RunFolder", "environment"]


def environment() -> dict[str, str]:
    """Versions and machine that a run's numbers depend on."""
    packages = ("fulcrum", "torch", "numpy", "polars", "onnx", "onnxruntime")
    return {
        "python": sys.version.split()[0],
        **{name: metadata.version(name) for name in packages},
        "platform": platform.platform(),
        "cores": str(len(os.sched_getaffinity(0))),
    }


class RunFolder:
    """A new run's folder.

    Raises:
        FulcrumError: the folder already holds a run.
    """

    def __init__(self, path: Path, recipe: Recipe, data_fingerprint: str) -> None:
        if (path / "run.json").exists():
            raise FulcrumError(f"--run {path}: there is a run in this folder already; name another one")
        path.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._write("recipe.json", recipe.model_dump(mode="json"))
        self._write(
            "run.json",
            {
                "recipe": recipe.name,
                "seed": recipe.training.seed,
                "data_fingerprint": data_fingerprint,
                "started": datetime.now(UTC).isoformat(timespec="seconds"),
                "environment": environment(),
            },
        )

    def record(self, epoch: Mapping[str, Any]) -> None:
        """Append one epoch to the metrics."""
        with (self.path / "metrics.jsonl").open("ab") as file:
            file.write(orjson.dumps(epoch, option=orjson.OPT_APPEND_NEWLINE))

    def keep(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Keep these weights as the best so far; a reader never sees half of them."""
        unfinished = self.path / ".best.pt"
        torch.save(dict(weights), unfinished)
        unfinished.replace(self.path / "best.pt")

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        (self.path / name).write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
