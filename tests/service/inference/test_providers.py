"""Providers: which one is taken of what an installed onnxruntime offers."""

from __future__ import annotations

import json

import pytest

from model.errors import FulcrumError
from service.inference import providers
from service.inference.providers import CPU, CUDA, OPENVINO, choose


@pytest.fixture
def offers(monkeypatch):
    """`offers(provider, ...)`: an onnxruntime of these providers."""
    loaded = []
    monkeypatch.setattr(providers, "_load_nvidia_libraries", lambda: loaded.append(1))

    def offer(*offered):
        names = [provider.runtime for provider in offered]
        monkeypatch.setattr(providers.ort, "get_available_providers", lambda: names)
        return loaded

    return offer


@pytest.mark.parametrize(
    ("offered", "taken"),
    [((CPU,), CPU), ((CUDA, CPU), CUDA), ((OPENVINO, CPU), CPU), ((OPENVINO, CUDA, CPU), CUDA)],
)
def test_auto_takes_cuda_where_it_is_offered_and_else_the_cpu(offers, offered, taken):
    offers(*offered)
    assert choose("auto") is taken


@pytest.mark.parametrize("provider", [CPU, CUDA, OPENVINO])
def test_what_is_asked_for_is_taken(offers, provider):
    offers(CUDA, OPENVINO, CPU)
    assert choose(provider.name) is provider


@pytest.mark.parametrize(("provider", "extra"), [(CUDA, "service-cuda"), (OPENVINO, "service-openvino")])
def test_what_is_not_offered_is_refused_with_the_extra_that_brings_it(offers, provider, extra):
    offers(CPU)
    with pytest.raises(
        FulcrumError, match=f"provider {provider.name}: .* offers CPUExecutionProvider; "
    ) as no:
        choose(provider.name)
    assert f"install the extra {extra} " in str(no.value)


def test_nvidias_libraries_are_loaded_for_cuda_alone(offers):
    loaded = offers(CUDA, CPU)
    choose("cpu")
    assert loaded == []
    choose("cuda")
    assert loaded == [1]


def test_each_provider_is_told_to_compute_in_float32():
    assert CUDA.options(4) == {"use_tf32": "0"}
    cpu = json.loads(OPENVINO.options(4)["load_config"])["CPU"]
    assert (cpu["INFERENCE_PRECISION_HINT"], cpu["INFERENCE_NUM_THREADS"]) == ("f32", "4")
    assert CPU.options(4) == {}
