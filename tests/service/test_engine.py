"""The engine: a provider that is really there, a network that gives what training saw."""

from __future__ import annotations

import dataclasses

import numpy as np
import onnxruntime
import pytest

from model.bundle import Sample
from model.errors import FulcrumError
from model.inference import NetworkInputs
from service.engine import CHUNK, Engine

WITHOUT_CUDA = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="this onnxruntime offers CUDA"
)


@pytest.fixture(scope="module")
def bundle(world):
    return world.load()


def inputs_of(bundle, candidates: int) -> NetworkInputs:
    sample = bundle.sample.inputs
    rows = np.resize(np.arange(len(sample.row_to_user)), candidates)
    return NetworkInputs(sample.user, sample.item.take(rows), sample.row_to_user[rows])


@WITHOUT_CUDA
def test_auto_takes_the_cpu_where_there_is_no_cuda(bundle):
    assert Engine.load(bundle, "auto", 1).provider == "CPUExecutionProvider"


@WITHOUT_CUDA
def test_cuda_where_there_is_none_is_refused(bundle):
    with pytest.raises(FulcrumError, match=r"provider cuda: this onnxruntime offers .*CPUExecutionProvider"):
        Engine.load(bundle, "cuda", 1)


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_a_silent_fall_back_from_cuda_is_refused(bundle, monkeypatch):
    monkeypatch.setattr(
        "service.engine.ort.get_available_providers",
        lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"],
    )
    monkeypatch.setattr("model.inference.NetworkSession.providers", ["CPUExecutionProvider"])
    with pytest.raises(FulcrumError, match="fell back to the CPU"):
        Engine.load(bundle, "cuda", 1)
    assert Engine.load(bundle, "auto", 1).provider == "CPUExecutionProvider"


@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_a_network_that_misses_the_parity_sample_is_refused(bundle, wrong):
    expected = {**bundle.sample.expected, "shr": bundle.sample.expected["shr"] + np.float32(wrong)}
    broken = dataclasses.replace(bundle, sample=Sample(bundle.sample.inputs, expected))
    with pytest.raises(FulcrumError, match="predictions of shr differ from the parity sample"):
        Engine.load(broken, "cpu", 1)


def test_a_parity_sample_without_a_task_is_refused(bundle):
    expected = {task: values for task, values in bundle.sample.expected.items() if task != "cmr"}
    broken = dataclasses.replace(bundle, sample=Sample(bundle.sample.inputs, expected))
    with pytest.raises(FulcrumError, match="no predictions of cmr"):
        Engine.load(broken, "cpu", 1)


def test_predictions_come_in_the_manifests_order(bundle):
    found = Engine.load(bundle, "cpu", 1).predict(inputs_of(bundle, CHUNK + 7))
    assert list(found) == bundle.task_names
    assert found["vtr"] == pytest.approx(np.resize(bundle.sample.expected["vtr"], CHUNK + 7), abs=1e-6)
