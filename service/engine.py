"""Engine: the bundle's network on a chosen provider, proven before it serves. Arrays in, arrays out.

Knows neither raw features nor HTTP.

Shapes: N candidates.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import structlog

from model.bundle import Bundle
from model.errors import FulcrumError
from model.inference import NetworkInputs, NetworkSession

__all__ = ["CHUNK", "Engine", "Provider"]

Provider = Literal["auto", "cpu", "cuda"]

CHUNK = 500
"""Most candidates of one network call: the grain at which deadlines are kept and requests take turns."""

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_TOLERANCE = {_CPU: 1e-4, _CUDA: 1e-3}
"""Largest difference from the bundle's parity sample. CUDA multiplies in TF32."""

_WARM_UP = (1, 50, 500)

log = structlog.get_logger(__name__)


class Engine:
    """Runs one bundle's network.

    Attributes:
        provider: the onnxruntime execution provider in use.
    """

    def __init__(self, session: NetworkSession, tasks: list[str]) -> None:
        self._session = session
        self._tasks = tasks
        self.provider = session.providers[0]

    @classmethod
    def load(cls, bundle: Bundle, provider: Provider, threads: int) -> Self:
        """Load the network, prove it on the bundle's parity sample and warm it up.

        Raises:
            FulcrumError: the provider is not there, or the network does not give the sample's predictions.
        """
        wanted = _providers(provider)
        session = NetworkSession(bundle.network_path, wanted, threads)
        if session.providers[0] != wanted[0]:
            # onnxruntime falls back in silence when a provider's libraries do not load.
            if provider == "cuda":
                raise FulcrumError(
                    "provider cuda: onnxruntime could not start CUDA and fell back to the CPU; "
                    "check the driver, CUDA and cuDNN, or use --provider cpu"
                )
            log.warning("provider_fell_back", wanted=wanted[0], using=session.providers[0])
        if set(session.tasks) != set(bundle.task_names):
            raise FulcrumError(
                f"{bundle.network_path}: the network predicts {', '.join(session.tasks)}, "
                f"the manifest names {', '.join(bundle.task_names)}; export the bundle again"
            )
        engine = cls(session, bundle.task_names)
        engine._prove(bundle)
        engine._warm_up(bundle.sample.inputs)
        return engine

    def predict(self, inputs: NetworkInputs) -> dict[str, npt.NDArray[np.float32]]:
        """Predictions by task in the manifest's order, float32 [N]. Safe to call from many threads."""
        found = self._session.predict(inputs)
        return {task: found[task] for task in self._tasks}

    def _prove(self, bundle: Bundle) -> None:
        found = self.predict(bundle.sample.inputs)
        tolerance = _TOLERANCE.get(self.provider, max(_TOLERANCE.values()))
        for task, predictions in found.items():
            expected = bundle.sample.expected.get(task)
            if expected is None or expected.shape != predictions.shape:
                raise FulcrumError(
                    f"bundle {bundle.path}: the parity sample has no predictions of {task} for its rows; "
                    "export the bundle again"
                )
            difference = float(np.max(np.abs(predictions - expected), initial=0.0))
            # Written so that NaN fails.
            if not difference <= tolerance:
                raise FulcrumError(
                    f"bundle {bundle.path}: on {self.provider}, predictions of {task} differ from the parity "
                    f"sample by {difference:.2g}, more than {tolerance:g}; export the bundle again"
                )

    def _warm_up(self, sample: NetworkInputs) -> None:
        """First calls of each size allocate and choose kernels: let no request pay for that."""
        rows = len(sample.row_to_user)
        for size in _WARM_UP if rows else ():
            repeated = np.resize(np.arange(rows), size)
            item, row_to_user = sample.item.take(repeated), sample.row_to_user[repeated]
            self.predict(NetworkInputs(sample.user, item, row_to_user))


def _providers(provider: Provider) -> list[str]:
    """Execution providers, most wanted first."""
    offered = ort.get_available_providers()
    if provider == "cuda" and _CUDA not in offered:
        raise FulcrumError(
            f"provider cuda: this onnxruntime offers {', '.join(offered)}; "
            "install onnxruntime-gpu in its place, or use --provider cpu"
        )
    if provider == "cpu" or _CUDA not in offered:
        return [_CPU]
    return [_CUDA, _CPU]
