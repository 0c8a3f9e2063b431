"""Variants: which one serves is a rule, and none serves that is not what it was when it was judged."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import onnx
import pytest
import structlog
from onnx import numpy_helper

from model.bundle import MANIFEST_FILES, NETWORK, Bundle, Manifest, VariantEntry, load_bundle, write_manifest
from model.bundle.session import NetworkSession
from model.errors import FulcrumError
from service.inference import variant
from service.inference.engine import Engine, EngineOptions
from service.inference.providers import CPU, OPENVINO
from service.inference.variant import choose_variant


def with_variants(world, folder, noise: float = 1e-3, **entries: dict[str, Any]) -> Bundle:
    """The bundle with variants whose weights differ a little from float32."""
    shutil.copytree(world.bundle, folder, ignore=shutil.ignore_patterns(*MANIFEST_FILES))
    base = world.load()
    made = {}
    for name, given in (entries or {"int8": {}}).items():
        file = f"network.{name}.onnx"
        network = onnx.load(folder / NETWORK)
        random = np.random.default_rng(8)
        for tensor in network.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims:
                weight = numpy_helper.to_array(tensor)
                changed = weight * (1 + noise * random.normal(size=weight.shape))
                tensor.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), tensor.name))
        onnx.save_model(network, folder / file)
        found = NetworkSession(folder / file).predict(base.sample.inputs)
        differences = {task: np.abs(found[task] - own) for task, own in base.sample.expected.items()}
        entry = {
            "passed": True,
            "file": file,
            "provider": "cpu",
            "speedup": 2.0,
            "tolerance": {task: float(each.max()) * 1.5 for task, each in differences.items()},
            "sample": {task: float(np.sqrt(np.mean(each**2))) for task, each in differences.items()},
            "gate": {},
        }
        made[name] = VariantEntry(**{**entry, **given})
    fields = {name: getattr(base.manifest, name) for name in Manifest.model_fields}
    for name in ("format", "version", "files"):
        del fields[name]
    write_manifest(folder, **fields | {"variants": made})
    return load_bundle(folder)


@pytest.fixture
def multiplying(monkeypatch):
    monkeypatch.setattr(variant, "multiplies_bytes", lambda: True)


def test_a_variant_does_not_change_the_version_and_its_file_is_verified(world, tmp_path):
    bundle = with_variants(world, tmp_path / "bundle")
    assert bundle.version == world.load().version
    with (bundle.path / "network.int8.onnx").open("ab") as file:
        file.write(b"x")
    with pytest.raises(FulcrumError, match=r"network\.int8\.onnx is damaged"):
        load_bundle(bundle.path)


def test_auto_takes_the_fastest_that_passed_and_suits_the_provider(world, tmp_path, multiplying):
    bundle = with_variants(
        world,
        tmp_path / "bundle",
        int8={"speedup": 2.0},
        faster={"speedup": 3.0},
        failed={"speedup": 9.0, "passed": False, "file": None},
        elsewhere={"speedup": 5.0, "provider": "openvino"},
    )
    assert choose_variant(bundle, "auto", CPU) == "faster"
    assert choose_variant(bundle, "auto", OPENVINO) == "elsewhere"
    assert choose_variant(bundle, "int8", CPU) == "int8"
    assert choose_variant(world.load(), "auto", CPU) == "fp32"


def test_auto_stays_with_float32_where_nothing_is_to_be_gained(world, tmp_path, multiplying, monkeypatch):
    slow = with_variants(world, tmp_path / "slow", int8={"speedup": 1.05})
    assert choose_variant(slow, "auto", CPU) == "fp32"
    fast = with_variants(world, tmp_path / "fast")
    monkeypatch.setattr(variant, "multiplies_bytes", lambda: False)
    assert choose_variant(fast, "auto", CPU) == "fp32"
    assert choose_variant(fast, "int8", CPU) == "int8"


@pytest.mark.parametrize(
    ("wanted", "provider", "why"),
    [
        ("int4", CPU, "no variant 'int4'; it has fp32, int8, failed; `fulcrum quantize` makes int8"),
        ("failed", CPU, "variant failed did not pass its quality gate and does not serve; use fp32"),
        (
            "int8",
            OPENVINO,
            "int8 is made for the provider cpu, not openvino; set provider to cpu, or variant to fp32",
        ),
    ],
)
def test_a_variant_that_cannot_serve_is_refused(world, tmp_path, wanted, provider, why):
    bundle = with_variants(world, tmp_path / "bundle", int8={}, failed={"passed": False, "file": None})
    with pytest.raises(FulcrumError, match=why):
        choose_variant(bundle, wanted, provider)


def test_the_engine_runs_the_variant_and_says_so(world, tmp_path):
    bundle = with_variants(world, tmp_path / "bundle")
    exact, variant = (Engine.load(bundle, EngineOptions(variant=name)) for name in ("fp32", "int8"))
    assert (exact.variant, variant.variant) == ("fp32", "int8")
    inputs = bundle.sample.inputs
    assert any(
        (exact.predict(inputs)[task] != found).any() for task, found in variant.predict(inputs).items()
    )


@pytest.mark.parametrize("loosened", ["tolerance", "sample"])
def test_a_variant_that_is_not_here_what_it_was_there_is_refused(world, tmp_path, multiplying, loosened):
    """As on a processor that adds in other ways: differences of another size, at most or on the whole."""
    whole = with_variants(world, tmp_path / "whole").manifest.variants["int8"]
    changed = {
        task: value * (0.5 if loosened == "tolerance" else 0.3)
        for task, value in getattr(whole, loosened).items()
    }
    bundle = with_variants(world, tmp_path / "bundle", int8={loosened: changed})
    with pytest.raises(
        FulcrumError, match=r"int8 on CPUExecutionProvider: predictions of vtr differ .* set variant to fp32"
    ):
        Engine.load(bundle, EngineOptions(variant="int8"))
    with structlog.testing.capture_logs() as logs:
        assert Engine.load(bundle, EngineOptions(variant="auto")).variant == "fp32"
    assert [entry["event"] for entry in logs if entry["log_level"] == "warning"] == ["variant_refused"]


def test_answers_name_the_variant(serve, world, tmp_path, served):
    bundle = with_variants(world, tmp_path / "bundle")
    asked = {"candidate_ids": ["v1", "v2", "v3"]}
    with serve(bundle=bundle.path, variant="int8") as running:
        answer = running.rank(**asked)
    exact = served.rank(**asked)
    assert (answer["model"]["variant"], exact["model"]["variant"]) == ("int8", "fp32")
    assert answer["model"]["version"] == exact["model"]["version"]
    assert answer["items"] != exact["items"]
