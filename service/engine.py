"""Engine: the bundle's network on a chosen provider, proven before it serves. Arrays in, arrays out.

Knows neither raw features nor HTTP.

Shapes: N candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt
import structlog

from model.bundle import NETWORK, NETWORK_DATA, Bundle
from model.errors import FulcrumError
from model.inference import NetworkInputs, NetworkSession, ProviderChoice
from service.buckets import BucketedSession
from service.providers import CPU, ExecutionProvider, Provider, choose
from service.shared_weights import SharedWeights

__all__ = ["BUCKETS", "CHUNK", "Engine"]

CHUNK = 500
"""Most candidates of one network call: the grain at which deadlines are kept and requests take turns."""

BUCKETS = (32, 64, 128, 256, CHUNK)
"""Numbers of rows that a network is run with where each shape costs a preparation of its own."""

_TOLERANCE = 1e-5
"""Largest difference from the bundle's parity sample, which the CPU made, on any provider: all compute in
float32 and differ but in the order of their sums."""

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
    def load(
        cls, bundle: Bundle, provider: Provider, threads: int, shared: SharedWeights | None = None
    ) -> Self:
        """Load the network, prove it on the bundle's parity sample and warm it up.

        Args:
            bundle: whose network.
            provider: where it shall run.
            threads: threads of one inference.
            shared: weights that workers map together, where there are several.

        Raises:
            FulcrumError: the provider is not there, or the network does not give the sample's predictions.
        """
        chosen = choose(provider)
        if shared is not None and chosen is CPU and (mapped := _mapped(bundle, shared, threads)):
            try:
                return cls._ready(mapped, bundle, (1, CHUNK))
            except FulcrumError as error:
                log.warning("weights_not_shared", network=str(bundle.network_path), error=str(error))
        session = _session(bundle, chosen, threads)
        if session.providers[0] != chosen.runtime:
            # onnxruntime falls back in silence when a provider's libraries do not load.
            if provider != "auto":
                raise FulcrumError(
                    f"provider {provider}: onnxruntime could not start it and fell back to the CPU; "
                    f"{chosen.hint}, or use --provider cpu"
                )
            log.warning("provider_fell_back", wanted=chosen.name, using=CPU.name, hint=chosen.hint)
            chosen = CPU
            session = _session(bundle, chosen, threads)
        return cls._ready(session, bundle, BUCKETS if chosen.fixed_shapes else (1, CHUNK))

    @classmethod
    def _ready(cls, session: NetworkSession, bundle: Bundle, sizes: Sequence[int]) -> Self:
        if set(session.tasks) != set(bundle.task_names):
            raise FulcrumError(
                f"{bundle.network_path}: the network predicts {', '.join(session.tasks)}, "
                f"the manifest names {', '.join(bundle.task_names)}; export the bundle again"
            )
        engine = cls(session, bundle.task_names)
        engine._prove(bundle)
        engine._warm_up(bundle.sample.inputs, sizes)
        return engine

    def predict(self, inputs: NetworkInputs) -> dict[str, npt.NDArray[np.float32]]:
        """Predictions by task in the manifest's order, float32 [N]. Safe to call from many threads."""
        found = self._session.predict(inputs)
        return {task: found[task] for task in self._tasks}

    def _prove(self, bundle: Bundle) -> None:
        found = self.predict(bundle.sample.inputs)
        for task, predictions in found.items():
            expected = bundle.sample.expected.get(task)
            if expected is None or expected.shape != predictions.shape:
                raise FulcrumError(
                    f"bundle {bundle.path}: the parity sample has no predictions of {task} for its rows; "
                    "export the bundle again"
                )
            difference = float(np.max(np.abs(predictions - expected), initial=0.0))
            # Written so that NaN fails.
            if not difference <= _TOLERANCE:
                raise FulcrumError(
                    f"bundle {bundle.path}: on {self.provider}, predictions of {task} differ from the parity "
                    f"sample by {difference:.2g}, more than {_TOLERANCE:g}; export the bundle again"
                )

    def _warm_up(self, sample: NetworkInputs, sizes: Sequence[int]) -> None:
        """First calls of each size allocate and choose kernels: let no request, which has one user, pay."""
        rows = len(sample.row_to_user)
        for size in sizes if rows else ():
            item = sample.item.take(np.resize(np.arange(rows), size))
            self.predict(
                NetworkInputs(sample.user.take(np.zeros(1, np.int64)), item, np.zeros(size, np.int64))
            )


def _mapped(bundle: Bundle, shared: SharedWeights, threads: int) -> NetworkSession | None:
    """From shared weights. Large tables, beside the network, are mapped as they are: not worth a copy."""
    if NETWORK_DATA in bundle.manifest.files:
        return None
    return shared.session(bundle.network_path, bundle.manifest.files[NETWORK].sha256, threads)


def _session(bundle: Bundle, provider: ExecutionProvider, threads: int) -> NetworkSession:
    own = (provider.runtime, provider.options(threads))
    # The CPU takes what the provider lacks.
    choices: list[ProviderChoice] = [own] if provider is CPU else [own, CPU.runtime]
    if provider.fixed_shapes:
        return BucketedSession(bundle.network_path, choices, threads, BUCKETS, provider.device)
    return NetworkSession(bundle.network_path, choices, threads)
