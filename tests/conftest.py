"""A small log with planted behaviour, the recipe that reads it, and one bundle trained from it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

Document = dict[str, Any]

_RECIPE: Document = {
    "name": "tiny",
    "data": {
        "reader": "files",
        "log": "log.csv",
        "tables": [
            {"name": "users", "files": "users.csv", "key": "user_id"},
            {"name": "items", "files": "items.csv", "key": "video_id"},
            {"name": "views", "files": "views.csv", "key": "video_id", "as_of": "known_at"},
        ],
        "user": "user_id",
        "item": "video_id",
        "time": "time",
        "video_len": {"column": "length_ms", "unit": "ms"},
        "split": {"train": "time < 960", "validation": "time >= 960"},
    },
    "features": [
        {"name": "user_id", "side": "user", "kind": "id", "min_count": 2, "width": 3},
        {"name": "band", "side": "user", "kind": "categorical", "width": 2},
        {"name": "age", "side": "user", "kind": "numeric"},
        {"name": "tab", "side": "context", "kind": "categorical", "width": 2},
        {"name": "video_id", "side": "item", "kind": "id", "hash_buckets": 30, "width": 3},
        {"name": "quality", "side": "item", "kind": "numeric", "transform": "quantile"},
        {"name": "views", "side": "item", "kind": "numeric", "transform": "log1p"},
    ],
    "tasks": [
        {"name": "vtr", "type": "binary", "label": "watched_ms * 2 >= length_ms"},
        {"name": "vcr", "type": "regression", "label": "watched_ms / length_ms", "where": "watched_ms > 0"},
        {"name": "shr", "type": "binary", "label": "shared", "where": "watched_ms > 0", "weight": 0.5},
    ],
    "network": {
        "model": "ple",
        "levels": 1,
        "experts": {"shared": 1, "task": 1},
        "expert": [16],
        "tower": [8],
    },
    "training": {
        "epochs": 3,
        "batch": 64,
        "learning_rate": 0.03,
        "seed": 3,
        "threads": 1,
        "monitor": {"metric": "vtr.auc", "mode": "max"},
    },
}


@dataclass(frozen=True)
class Trained:
    """What one training read and wrote."""

    recipe: str
    data: Path
    bundle: Path
    run: Path


@pytest.fixture
def document() -> Document:
    """The tiny recipe, to be changed at will."""
    return copy.deepcopy(_RECIPE)


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Document], str]:
    """Save a recipe; its path, as `--recipe` takes it."""

    def save(document: Document) -> str:
        return _save(document, tmp_path / "recipe.yaml")

    return save


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,200 impressions of 40 users and 60 videos: better ones are watched longer, on tab 1 most of all."""
    import polars as pl

    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(17)
    rows, users, items = 1200, 40, 60
    user, item = random.integers(0, users, rows), random.integers(0, items, rows)
    quality, length = random.normal(size=items).round(4), random.integers(4, 60, items) * 1000
    tab = random.integers(0, 2, rows)
    drive = quality[item] * (1 + tab) + random.normal(0, 0.7, rows)
    watched = np.where(drive < -2, 0, length[item] / (1 + np.exp(-drive))).astype(int)
    shared = (random.random(rows) < 0.1 + 0.3 * (drive > 1)).astype(int)
    log = {"user_id": user, "video_id": item, "time": np.arange(rows), "tab": tab}
    pl.DataFrame({**log, "watched_ms": watched, "shared": shared}).write_csv(folder / "log.csv")
    pl.DataFrame(
        {
            # One user more than the log knows.
            "user_id": np.arange(users + 1),
            "band": [("young", "old", None)[number % 3] for number in range(users + 1)],
            "age": [None if number % 10 == 0 else 18.5 + number for number in range(users + 1)],
        }
    ).write_csv(folder / "users.csv")
    pl.DataFrame({"video_id": np.arange(items), "quality": quality, "length_ms": length}).write_csv(
        folder / "items.csv"
    )
    known = np.repeat(np.arange(0, rows, 300), items)
    pl.DataFrame(
        {
            "video_id": np.tile(np.arange(items), rows // 300),
            "known_at": known,
            "views": (known + 1) * random.integers(1, 50, len(known)),
        }
    ).write_csv(folder / "views.csv")
    return folder


@pytest.fixture(scope="session")
def trained(data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """One bundle for all tests that only read it."""

    from training.recipe import load_recipe
    from training.train import TrainingPlan, train_bundle

    folder = tmp_path_factory.mktemp("trained")
    recipe = _save(_RECIPE, folder / "recipe.yaml")
    bundle, run = folder / "bundle", folder / "run"
    train_bundle(TrainingPlan(load_recipe(recipe), bundle, data_folder, run))
    return Trained(recipe, data_folder, bundle, run)


def _save(document: Document, path: Path) -> str:
    path.write_text(yaml.safe_dump(copy.deepcopy(document), sort_keys=False))
    return str(path)
