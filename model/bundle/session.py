"""Inference: the exported network by onnxruntime, arrays in, arrays out. Knows neither raw values nor HTTP.

Training's export check, `fulcrum evaluate` and the service all run a bundle through this one class, so that
they give the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort

from model.bundle.inputs import INPUTS, NetworkInputs
from model.errors import FulcrumError

ProviderChoice = str | tuple[str, Mapping[str, str]]
"""An execution provider by onnxruntime's name, or that with options."""


_MAPPED_BYTES = 1024
"""Weights of a prepared network from so many bytes on are mapped."""


class NetworkSession:
    """An onnxruntime session of an exported network.

    Args:
        path: the ONNX file.
        providers: execution providers, most wanted first.
        threads: threads of one inference.
        prepared: whether `write_prepared` wrote the file, so that nothing is left to optimise.

    Raises:
        FulcrumError: onnxruntime refuses the file.
    """

    def __init__(
        self,
        path: Path,
        providers: Sequence[ProviderChoice] = ("CPUExecutionProvider",),
        threads: int = 1,
        prepared: bool = False,
    ) -> None:
        options = _options(threads)
        if prepared:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = _load(path, options, providers)
        self._inputs = [node.name for node in self._session.get_inputs()]
        foreign = sorted(set(self._inputs) - set(INPUTS))
        if foreign:
            raise FulcrumError(f"{path}: unknown graph input {foreign[0]!r}; expected {', '.join(INPUTS)}")
        self.tasks = [node.name for node in self._session.get_outputs()]

    @property
    def providers(self) -> list[str]:
        """The execution providers in use."""
        return list(self._session.get_providers())

    def predict(self, inputs: NetworkInputs) -> dict[str, npt.NDArray[np.float32]]:
        """Predictions by task name, float32 [N] each. Safe to call from many threads."""
        if not len(inputs.row_to_user):
            return {task: np.zeros(0, np.float32) for task in self.tasks}
        arrays: Mapping[str, npt.NDArray[np.generic]] = inputs.arrays()
        outputs = self._session.run(self.tasks, {name: arrays[name] for name in self._inputs})
        return dict(zip(self.tasks, outputs, strict=True))


def write_prepared(path: Path, target: Path) -> None:
    """Write a network as this machine's CPU runs it, for `NetworkSession` to load: optimised, and its weights
    in the order in which kernels read them, in a file beside `target` that is mapped, not read.

    Raises:
        FulcrumError: onnxruntime refuses the file, or cannot write.
    """
    options = _options(threads=1)
    options.optimized_model_filepath = str(target)
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_file_name", target.with_suffix(".data").name
    )
    options.add_session_config_entry(
        "session.optimized_model_external_initializers_min_size_in_bytes", str(_MAPPED_BYTES)
    )
    options.add_session_config_entry("session.save_external_prepacked_constant_initializers", "1")
    _load(path, options, ("CPUExecutionProvider",))


def _options(threads: int) -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # Threads that wait for work by turning in circles take the cores from other sessions and from Python.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _load(
    path: Path, options: ort.SessionOptions, providers: Sequence[ProviderChoice]
) -> ort.InferenceSession:
    try:
        return ort.InferenceSession(str(path), options, providers=list(providers))
    except Exception as error:  # onnxruntime raises a dozen types of its own
        reason = str(error).splitlines()[0]
        raise FulcrumError(f"{path}: onnxruntime cannot load this network ({reason})") from error
