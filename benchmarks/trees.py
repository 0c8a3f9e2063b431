"""Boosted trees as a yardstick of quality: a bundle against single-task LightGBM on the same features.

The trees see every feature of the bundle's schema but those of kind `id`, on the bundle's own splits.
Differences are paired: both models on the same rows, users resampled.

    python -m benchmarks.trees BUNDLE --data DIR      (needs the extra `bench`)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import lightgbm
import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

from model.bundle import load_bundle
from model.bundle.session import NetworkSession
from model.cores import available_cores
from model.encoding import EncodedRows, Encoder
from model.schema import Side
from training.datasets import read_source
from training.evaluation.predicting import predict_log
from training.metrics.comparison import compare_task
from training.preparation.preparation import prepare_log
from training.rows.material import encode_log

console = Console(width=None if sys.stdout.isatty() else 120)

Floats = npt.NDArray[np.float64]

SETTINGS = {
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 10,
    "cat_smooth": 50,
    "cat_l2": 50,
    "seed": 7,
    "verbose": -1,
}
ROUNDS = 300


def main(bundle_path: Path, data: Annotated[Path | None, typer.Option("--data")] = None) -> None:
    """Train the trees and print both models with the paired difference, task by task."""
    bundle = load_bundle(bundle_path)
    schema = bundle.schema
    log = prepare_log(schema, read_source(schema, data))
    encoded = encode_log(bundle.encoder, log)
    x, categorical = _table(bundle.encoder, encoded.user, encoded.item)
    held_out = encoded.take(log.validation)
    ours = predict_log(NetworkSession(bundle.network_path, threads=available_cores()), held_out)
    table = Table("task", "metric", bundle.manifest.name, "LightGBM", "difference, paired [95 %]", "")
    for place, task in enumerate(schema.tasks):
        rows, inside = log.train & log.masks[:, place], held_out.masks[:, place]
        dataset = lightgbm.Dataset(x[rows], log.labels[rows, place], categorical_feature=categorical)
        objective = "binary" if task.type == "binary" else "l2"
        trees = lightgbm.train({**SETTINGS, "objective": objective}, dataset, ROUNDS)
        theirs = np.asarray(trees.predict(x[log.validation][inside]))
        labels, users = held_out.labels[inside, place], held_out.user_number[inside]
        compared = compare_task(
            task.type, ours[task.name][inside], theirs, labels, held_out.group[inside], users
        )
        for metric, found in compared.items():
            low, high = found.interval
            figures = f"{found.value:.4f}", f"{found.other:.4f}"
            paired = f"{found.difference:+.4f} [{low:+.4f}, {high:+.4f}]"
            table.add_row(task.name, metric, *figures, paired, found.verdict)
    console.print(table)


def _table(encoder: Encoder, user: EncodedRows, item: EncodedRows) -> tuple[Floats, list[int]]:
    """Encoded features less the ids as one matrix, and which of its columns are categories."""
    codes, numbers = [], [user.numeric, item.numeric]
    for rows, sides in ((user, ("user", "context")), (item, ("item",))):
        place = 0
        for side in sides:
            kinds: Side = side  # type: ignore[assignment]
            for spec in encoder.schema.side(kinds):
                if spec.kind == "numeric":
                    continue
                if spec.kind == "categorical":
                    codes.append(rows.ids[:, place])
                place += 1
    return np.column_stack([*codes, *numbers]).astype(np.float64), list(range(len(codes)))


if __name__ == "__main__":
    typer.run(main)
