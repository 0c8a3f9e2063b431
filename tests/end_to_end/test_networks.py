"""Every network there is, from a log to ranked answers over HTTP, and on from its bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest
import yaml

from model.bundle import Bundle, load_bundle
from model.network.trunk import Trunk
from model.network.trunks import network_config
from service.settings import Settings
from tests.conftest import MadeOnce, Trained
from tests.support.parity import largest_difference
from tests.support.service_thread import listening
from training.evaluation.evaluate import evaluate_bundle
from training.export.export import PARITY_ROWS
from training.fitting.network import fresh_network
from training.fitting.trainer import predict_rows
from training.publishing.publish import publish
from training.recipe import Recipe, load_recipe
from training.rows.material import material_in_memory
from training.runs.warm_start import open_bundle
from training.train import TrainingPlan, train_bundle

TASKS = ("vtr", "vcr", "shr")
OFTEN = {"esmm", "ple"}
"""Networks that `make test` takes all the way; `make faults` takes all of them."""
NETWORKS = [
    pytest.param(name, marks=() if name in OFTEN else pytest.mark.long) for name in sorted(Trunk.known)
]


@dataclass(frozen=True)
class Home:
    """A small log, the recipe that reads it, and its users and items, published."""

    document: dict[str, Any]
    data: Path
    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "features"

    def recipe(self, model: str, **changes: Any) -> Recipe:
        """The recipe for another network."""
        path = self.folder / f"{model}.yaml"
        path.write_text(yaml.safe_dump(self.document | changes))
        return load_recipe(str(path), model=model)


@dataclass(frozen=True)
class Judged:
    """A network's bundle and what `evaluate` predicts with it, row by row of the validation split."""

    bundle: Bundle
    rows: pl.DataFrame


@pytest.fixture(scope="module")
def home(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Home:
    document = yaml.safe_load(Path(trained.recipe).read_text())
    # What the store holds of it is newer than what the log's rows saw.
    document["features"] = [spec for spec in document["features"] if spec["name"] != "views"]
    document["network"] |= {"expert": [16, 8], "tower": [4]}
    document["training"]["epochs"] = 1
    return Home(document, trained.data, tmp_path_factory.mktemp("networks"))


@pytest.fixture(scope="module")
def judged(home: Home, made_once: MadeOnce) -> Callable[[str], Judged]:
    @cache
    def train(model: str) -> Judged:
        def make(folder: Path) -> None:
            train_bundle(TrainingPlan(home.recipe(model), folder / "bundle", home.data, folder / "run"))

        loaded = load_bundle(made_once(f"network-{model}", make) / "bundle")
        # Of one encoder for all, so the second finds its rows published.
        publish(loaded, home.data, str(home.store))
        return Judged(loaded, evaluate_bundle(loaded, home.data).rows)

    return train


@pytest.mark.parametrize("model", NETWORKS)
def test_a_network_trains_exports_and_ranks_over_http_as_evaluate_predicts(
    model: str, home: Home, judged: Callable[[str], Judged]
) -> None:
    bundle, rows = judged(model).bundle, judged(model).rows
    assert set(bundle.manifest.parity) == set(map(str, PARITY_ROWS))
    assert max(bundle.manifest.parity.values()) <= 1e-5
    settings = {key: value for key, value in bundle.manifest.network.items() if key != "parameters"}
    assert network_config(settings) == home.recipe(model).network
    for task in TASKS:
        # Of 240 rows; a tower of four units may lose some to ReLU.
        assert rows[f"{task}_prediction"].n_unique() > 50
        assert rows[f"{task}_prediction"].is_between(0, 1).all()
    with (
        listening(Settings(bundle=bundle.path, features=str(home.store), threads=1)) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        compared, worst = largest_difference(client, rows, "user_id", "video_id", ["tab"])
        request = {"user_id": "3", "context": {"tab": "1"}, "candidate_ids": [str(n) for n in range(60)]}
        answer = client.post("/v1/rank", json=request).json()
    assert compared > 200
    assert worst <= 1e-5
    assert (answer["model"]["version"], answer["scored"]) == (bundle.version, 60)
    scores = [item["score"] for item in answer["items"]]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("model", NETWORKS)
def test_a_training_goes_on_from_a_networks_bundle_with_a_new_feature(
    model: str, home: Home, judged: Callable[[str], Judged]
) -> None:
    length = {"name": "length_ms", "side": "item", "kind": "numeric"}
    recipe = home.recipe(model, features=[length, *reversed(home.document["features"])])
    before = judged(model)
    warm = open_bundle(before.bundle.path, recipe.data_schema, recipe.network)
    material = material_in_memory(recipe.data_schema, home.data, warm.growth)
    network = fresh_network(recipe.network, recipe.training, material.encoder)
    warm.put(network, material.encoder, recipe.network)
    predictions = predict_rows(network, material.validation)
    expected = before.rows.select(f"{task}_prediction" for task in TASKS).to_numpy()
    np.testing.assert_allclose(predictions, expected, rtol=0, atol=1e-5)
