"""A small log with planted behaviour, the recipe that reads it, and one bundle trained from it."""

from __future__ import annotations

import copy
import hashlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from filelock import FileLock
from typer.main import get_command

from tests.support.properties import load_profile

load_profile()
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as `fulcrum` does
if "PYTEST_XDIST_WORKER" in os.environ:
    # Each process has one core: threads of torch would only wait for each other.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

SLOW_FIXTURES = {"fulcrum", "graphs", "redis_process", "serving_python", "trained"}
"""What trains, exports or starts a process: whatever uses one of these is slow. Others are marked."""

Document = dict[str, Any]
MadeOnce = Callable[[str, Callable[[Path], object]], Path]

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow by what it uses."""
    for item in items:
        if SLOW_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Let no test start a process that is not marked slow: `make test-fast` stays fast."""
    _processes_are_refused.value = item.get_closest_marker("slow") is None
    try:
        return (yield)
    finally:
        _processes_are_refused.value = False


def _refuse_processes(event: str, _: object) -> None:
    if event in {"subprocess.Popen", "os.fork", "os.posix_spawn"} and _processes_are_refused.value:
        raise AssertionError("this test starts a process: mark it with @pytest.mark.slow")


_processes_are_refused = SimpleNamespace(value=False)
sys.addaudithook(_refuse_processes)


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> MadeOnce:
    """`made_once(name, make)`: a folder that `make(folder)` filled, once for all processes of a run.

    Tests only read it. Whoever needs it first makes it; others wait and read the same files.
    """
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    root /= "shared"

    def share(name: str, make: Callable[[Path], object]) -> Path:
        folder, finished = root / name, root / f"{name}.finished"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{name}.lock"):
            if not finished.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                make(folder)
                finished.touch()
        return folder

    return share


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
def command_line() -> object:
    """The command line, built once: that takes longer than most commands."""
    import fulcrum

    return get_command(fulcrum.app)


@pytest.fixture
def called(
    command_line: object, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[Any, str, str]]:
    """`called(*words)`: run a command in this process: exit status, stdout, stderr."""
    import fulcrum

    def call(*words: object) -> tuple[Any, str, str]:
        monkeypatch.setattr(fulcrum, "app", command_line)
        monkeypatch.setattr("sys.argv", ["fulcrum", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            fulcrum.main()
        return (stopped.value.code or 0, *capsys.readouterr())

    return call


@pytest.fixture(scope="session")
def data_folder(made_once: MadeOnce) -> Path:
    """1,200 impressions of 40 users and 60 videos: better ones are watched longer, on tab 1 most of all."""
    return made_once("data", _write_data)


@pytest.fixture(scope="session")
def trained(data_folder: Path, made_once: MadeOnce) -> Trained:
    """One bundle for all tests that only read it."""
    from training.recipe import load_recipe
    from training.train import TrainingPlan, train_bundle

    def train(folder: Path) -> None:
        recipe = _save(_RECIPE, folder / "recipe.yaml")
        train_bundle(TrainingPlan(load_recipe(recipe), folder / "bundle", data_folder, folder / "run"))

    folder = made_once("trained", train)
    return Trained(str(folder / "recipe.yaml"), data_folder, folder / "bundle", folder / "run")


@pytest.fixture
def graphs_from_stock(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests that run no graph: an export takes seconds, so bundles get that of `trained`.

    It bears a hash of the weights, so that bundles of other weights still have other versions.
    """
    import onnx

    from training.runs.warm_start import kept_weights

    def write(network: Any, path: Path) -> None:
        network.eval()
        graph = onnx.load(trained.bundle / "network.onnx")
        weights = sorted(kept_weights(network).items())
        graph.doc_string = hashlib.sha256(b"".join(value.tobytes() for _, value in weights)).hexdigest()
        onnx.save_model(graph, path)

    monkeypatch.setattr("training.export.export.export_graph", write)
    monkeypatch.setattr("training.export.export._check_parity", lambda *_: {})


def _save(document: Document, path: Path) -> str:
    path.write_text(yaml.safe_dump(copy.deepcopy(document), sort_keys=False))
    return str(path)


def _write_data(folder: Path) -> None:
    import polars as pl

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
