"""Providers: where onnxruntime can run a network, each told to compute in true float32. Loads no network."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import onnxruntime as ort

from model.errors import FulcrumError

Provider = Literal["auto", "cpu", "cuda", "openvino"]


class ProviderError(FulcrumError):
    """A provider that is not there, which is no fault of a network's."""


@dataclass(frozen=True)
class ExecutionProvider:
    """One way to run networks.

    Attributes:
        name: as settings say it.
        runtime: as onnxruntime says it.
        extra: of this project, which brings the build of onnxruntime that offers it.
        options: what onnxruntime is told, given the threads of one inference.
        fixed_shapes: whether it prepares for each number of rows that it meets, so that few are better.
        device: where inputs and outputs best lie.
        hint: what to look at where it is offered and does not start.
    """

    name: Provider
    runtime: str
    extra: str
    options: Callable[[int], Mapping[str, str]]
    fixed_shapes: bool
    device: Literal["cpu", "cuda"]
    hint: str = ""


CPU = ExecutionProvider("cpu", "CPUExecutionProvider", "service", lambda _: {}, False, "cpu")

CUDA = ExecutionProvider(
    "cuda",
    "CUDAExecutionProvider",
    "service-cuda",
    # TF32 keeps ten bits of a factor: predictions would be off by 1e-3.
    lambda _: {"use_tf32": "0"},
    True,
    "cuda",
    "check the driver, CUDA and cuDNN",
)

OPENVINO = ExecutionProvider(
    "openvino",
    "OpenVINOExecutionProvider",
    "service-openvino",
    lambda threads: {"device_type": "CPU", "load_config": _openvino_config(threads)},
    True,
    "cpu",
    "check that the wheel fits this machine",
)

_ALL = (CUDA, OPENVINO, CPU)
_AUTO = (CUDA, CPU)
"""Of what is offered, the first. OpenVINO in float32 is no faster than the CPU, so it must be asked for."""


def choose(wanted: Provider) -> ExecutionProvider:
    """The provider to use; `auto` takes CUDA where the installed onnxruntime offers it, else the CPU.

    Raises:
        ProviderError: it does not offer the one that is wanted.
    """
    offered = ort.get_available_providers()
    for provider in _AUTO if wanted == "auto" else _ALL:
        if wanted in ("auto", provider.name) and provider.runtime in offered:
            if provider is CUDA:
                _load_nvidia_libraries()
            return provider
    extra = next(provider.extra for provider in _ALL if provider.name == wanted)
    raise ProviderError(
        f"provider {wanted}: this onnxruntime offers {', '.join(offered)}; "
        f"install the extra {extra} in an environment of its own, or set provider to cpu"
    )


@functools.cache
def _load_nvidia_libraries() -> None:
    """pip puts them where only Python looks; what is missing, onnxruntime says on stdout."""
    with contextlib.redirect_stdout(sys.stderr):
        ort.preload_dlls()


def _openvino_config(threads: int) -> str:
    """Without the precision, the processor's favourite is taken, which may be bfloat16."""
    cpu = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": str(threads),
        "NUM_STREAMS": "1",
        "PERFORMANCE_HINT": "LATENCY",
    }
    return json.dumps({"CPU": cpu})
