"""The engine: a provider that is really there, a network that gives what training saw."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import onnxruntime
import pytest

from model.bundle import Sample, load_bundle
from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession
from model.errors import FulcrumError
from service.inference.engine import CHUNK, Engine, EngineOptions
from service.inference.providers import CPU, CUDA, OPENVINO
from tests.support.bundle_variants import write_edited

OFFERED = onnxruntime.get_available_providers()


def is_offered(provider) -> pytest.MarkDecorator:
    reason = f"this onnxruntime has no {provider.runtime}: install the extra {provider.extra}"
    return pytest.mark.skipif(provider.runtime not in OFFERED, reason=reason)


@pytest.fixture(
    params=[pytest.param(one.name, marks=is_offered(one), id=one.name) for one in (CPU, CUDA, OPENVINO)]
)
def provider(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def bundle(world):
    return world.load()


def inputs_of(bundle, candidates: int) -> NetworkInputs:
    """One user, as in every request."""
    sample = bundle.sample.inputs
    rows = np.resize(np.arange(len(sample.row_to_user)), candidates)
    return NetworkInputs(sample.user.take(np.zeros(1, np.int64)), sample.item.take(rows), np.zeros_like(rows))


def test_every_provider_gives_the_cpus_predictions_for_any_number_of_candidates(bundle, provider):
    engine = Engine.load(bundle, EngineOptions(provider))
    assert engine.provider == {one.name: one.runtime for one in (CPU, CUDA, OPENVINO)}[provider]
    expected = NetworkSession(bundle.network_path).predict(inputs_of(bundle, CHUNK + 7))
    for candidates in (CHUNK + 7, 1, 2, 31, 32, 33, CHUNK - 1, CHUNK, 1):
        found = engine.predict(inputs_of(bundle, candidates))
        for task, predictions in found.items():
            assert predictions.shape == (candidates,)
            np.testing.assert_allclose(predictions, expected[task][:candidates], rtol=0, atol=1e-5)


def test_auto_takes_cuda_where_it_is_offered_and_else_the_cpu(bundle):
    best = next(one.runtime for one in (CUDA, CPU) if one.runtime in OFFERED)
    assert Engine.load(bundle, EngineOptions("auto")).provider == best


def test_every_provider_ranks_over_http_with_the_cpus_predictions(serve, provider, served):
    asked = {"candidate_ids": [f"v{row}" for row in range(CHUNK + 33)], "top_k": CHUNK + 33}
    expected = served.rank(**asked)
    with serve(provider=provider) as other:
        found = other.rank(**asked)
    by_id = {item["id"]: item["predictions"] for item in expected["items"]}
    for item in found["items"]:
        assert item["predictions"] == pytest.approx(by_id[item["id"]], abs=1e-5)


@pytest.mark.parametrize("absent", [one for one in (CUDA, OPENVINO) if one.runtime not in OFFERED])
def test_a_provider_that_this_onnxruntime_lacks_is_refused(bundle, absent):
    why = rf"provider {absent.name}: this onnxruntime offers .*CPUExecutionProvider.* extra {absent.extra}"
    with pytest.raises(FulcrumError, match=why):
        Engine.load(bundle, EngineOptions(absent.name))


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_silent_fall_back_to_the_cpu_is_refused(bundle, monkeypatch):
    offered = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr("service.inference.providers.ort.get_available_providers", lambda: offered)
    monkeypatch.setattr("model.bundle.session.NetworkSession.providers", ["CPUExecutionProvider"])
    with pytest.raises(FulcrumError, match="fell back to the CPU"):
        Engine.load(bundle, EngineOptions("cuda"))
    assert Engine.load(bundle, EngineOptions("auto")).provider == "CPUExecutionProvider"


@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_a_network_that_misses_the_parity_sample_is_refused(bundle, wrong):
    expected = {**bundle.sample.expected, "shr": bundle.sample.expected["shr"] + np.float32(wrong)}
    broken = dataclasses.replace(bundle, sample=Sample(bundle.sample.inputs, expected))
    with pytest.raises(FulcrumError, match="predictions of shr differ from the parity sample"):
        Engine.load(broken, EngineOptions())


def test_a_parity_sample_without_a_task_is_refused(bundle):
    expected = {task: values for task, values in bundle.sample.expected.items() if task != "cmr"}
    broken = dataclasses.replace(bundle, sample=Sample(bundle.sample.inputs, expected))
    with pytest.raises(FulcrumError, match="no predictions of cmr"):
        Engine.load(broken, EngineOptions())


def test_predictions_come_in_the_manifests_order(bundle):
    found = Engine.load(bundle, EngineOptions()).predict(bundle.sample.inputs)
    assert list(found) == bundle.task_names
    assert found["vtr"] == pytest.approx(bundle.sample.expected["vtr"], abs=1e-6)


def test_an_encoder_with_more_words_than_the_networks_table_is_refused(world, tmp_path):
    def more_words(folder):
        document = json.loads((folder / "encoder.json").read_bytes())
        document["features"]["activity"]["vocabulary"].append("one more")
        (folder / "encoder.json").write_text(json.dumps(document))

    write_edited(world.bundle, tmp_path / "bundle", more_words)
    with pytest.raises(FulcrumError, match="does not run on the largest ids of its encoder"):
        Engine.load(load_bundle(tmp_path / "bundle"), EngineOptions("cpu"))


def test_a_network_that_takes_longer_than_any_request_waits_is_refused(bundle, monkeypatch):
    monkeypatch.setattr("service.inference.engine._SLOWEST_S", 0.0)
    with pytest.raises(FulcrumError, match=f"{CHUNK} candidates take .* s, more than"):
        Engine.load(bundle, EngineOptions("cpu"))
