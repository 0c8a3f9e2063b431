"""A variant from `fulcrum quantize` to ranked answers: the same numbers in `evaluate` and over HTTP."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import orjson
import polars as pl
import pytest

from model.bundle import load_bundle
from tests.support.harness import FULCRUM, Command, World, serving
from tests.support.parity import largest_difference
from tests.support.processor import exact_bytes


@pytest.fixture(scope="module")
def quantized(world: World, fulcrum: Command, tmp_path_factory) -> World:
    home = tmp_path_factory.mktemp("quantized")
    bundle = home / "bundle"
    shutil.copytree(world.bundle, bundle)
    told = orjson.loads(fulcrum("quantize", bundle, "--json").stdout)
    assert told["passed"] is True
    assert {"vtr.auc", "vcr.mse", "order.regret"} <= set(told["gate"]["checks"])
    fulcrum("evaluate", bundle, "--variant", "int8", "--predictions", home / "rows.parquet")
    return replace(world, bundle=bundle, rows=pl.read_parquet(home / "rows.parquet"), log=home / "log")


@exact_bytes
def test_the_bundle_keeps_its_version_and_its_network(world, quantized):
    before, after = load_bundle(world.bundle), load_bundle(quantized.bundle)
    assert after.version == before.version
    assert after.network_path.read_bytes() == before.network_path.read_bytes()
    assert after.manifest.files["network.int8.onnx"].bytes < before.manifest.files["network.onnx"].bytes


@exact_bytes
def test_predictions_differ_from_float32_by_no_more_than_the_manifest_declares(world, quantized):
    tolerance = load_bundle(quantized.bundle).manifest.variants["int8"].tolerance
    for task, most in tolerance.items():
        column = f"{task}_prediction"
        difference = (quantized.rows[column] - world.rows[column]).abs().max()
        assert 0 < difference <= most + 1e-6


@exact_bytes
def test_http_gives_the_predictions_of_evaluate_and_names_the_variant(quantized):
    words = ("--bundle", quantized.bundle, "--features", quantized.store, "--variant", "int8")
    with serving(*words, log=quantized.log) as client:
        count, worst = largest_difference(
            client,
            quantized.rows.head(300),
            "user_id",
            "video_id",
            ["tab", "hour"],
            user_features=quantized.moving,
        )
        answer = client.post("/v1/rank", json={"user_id": "0", "candidate_ids": ["1", "2"]}).json()
    assert answer["model"]["variant"] == "int8"
    assert count > 200
    assert worst <= 1e-5


def test_a_bundle_without_the_variant_does_not_serve_it(world):
    words = [FULCRUM, "serve", "--bundle", world.bundle, "--features", world.store, "--variant", "int8"]
    done = subprocess.run(
        [*map(str, words), "--port", "0"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "no variant 'int8'; it has fp32; `fulcrum quantize` makes int8" in done.stderr
