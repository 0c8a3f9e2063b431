"""Engine: the bundle's network on a chosen provider, proven before it serves. Arrays in, arrays out.

Knows neither raw features nor HTTP.

Shapes: N candidates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import structlog

from model.bundle import FP32, NETWORK_DATA, Bundle
from model.bundle.inputs import NetworkInputs
from model.bundle.session import NetworkSession, ProviderChoice
from model.errors import FulcrumError
from service.inference.buckets import BucketedSession
from service.inference.crew import Crew
from service.inference.providers import CPU, ExecutionProvider, Provider, choose
from service.inference.shared_weights import SharedWeights
from service.inference.variant import AUTO, choose_variant

CHUNK = 500
"""Most candidates of one network call: the grain at which deadlines are kept and requests take turns."""

BUCKETS = (32, 64, 128, 256, CHUNK)
"""Numbers of rows that a network is run with where each shape costs a preparation of its own."""

_TOLERANCE = 1e-5
"""Largest difference of float32 from the bundle's parity sample, which the CPU made, on any provider: all
differ but in the order of their sums."""

_SPREAD = 2.0
"""A variant's differences from the sample, by their root mean square, may be so many times what they were
where it was made: a sum in another order may round otherwise here and there."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class EngineOptions:
    """How networks run in this worker.

    Attributes:
        provider: where.
        threads: of one inference, where the provider is not the CPU: there each runs in one, and the crew
            parts it.
        variant: of the network; `auto` takes what suits this machine, and float32 where that fails.
        shared: weights that workers map together, where there are several.
        crew: the cores of this worker; None for one.
    """

    provider: Provider = "cpu"
    threads: int = 1
    variant: str = FP32
    shared: SharedWeights | None = None
    crew: Crew | None = None


class Engine:
    """Runs one bundle's network.

    Attributes:
        provider: the onnxruntime execution provider in use.
        variant: the numbers that it computes in.
    """

    def __init__(
        self, session: NetworkSession, tasks: list[str], variant: str, crew: Crew | None = None
    ) -> None:
        self._session = session
        self._crew = crew
        self._tasks = tasks
        self.provider = session.providers[0]
        self.variant = variant

    @classmethod
    def load(cls, bundle: Bundle, options: EngineOptions) -> Self:
        """Load the network, prove it on the bundle's parity sample and warm it up.

        Raises:
            FulcrumError: provider or variant are not there, or the network does not give the sample's
                predictions.
        """
        chosen = choose(options.provider)
        name = choose_variant(bundle, options.variant, chosen)
        try:
            return cls._load(bundle, name, chosen, options)
        except FulcrumError as error:
            if options.variant != AUTO or name == FP32:
                raise
            log.warning("variant_refused", variant=name, using=FP32, error=str(error))
            return cls._load(bundle, FP32, chosen, options)

    @classmethod
    def _load(cls, bundle: Bundle, variant: str, chosen: ExecutionProvider, options: EngineOptions) -> Self:
        path = bundle.variant_path(variant)
        shared, crew = options.shared, options.crew
        if shared is not None and chosen is CPU and (mapped := _mapped(bundle, path, shared)):
            try:
                return cls._ready(mapped, bundle, variant, chosen, crew)
            except FulcrumError as error:
                log.warning("weights_not_shared", network=str(path), error=str(error))
        session = _session(path, chosen, options.threads)
        if session.providers[0] != chosen.runtime:
            # onnxruntime falls back in silence when a provider's libraries do not load.
            if options.provider != "auto":
                raise FulcrumError(
                    f"provider {options.provider}: onnxruntime could not start it and fell back to the CPU; "
                    f"{chosen.hint}, or set provider to cpu"
                )
            log.warning("provider_fell_back", wanted=chosen.name, using=CPU.name, hint=chosen.hint)
            chosen = CPU
            session = _session(path, chosen, options.threads)
        return cls._ready(session, bundle, variant, chosen, crew)

    @classmethod
    def _ready(
        cls,
        session: NetworkSession,
        bundle: Bundle,
        variant: str,
        chosen: ExecutionProvider,
        crew: Crew | None,
    ) -> Self:
        if set(session.tasks) != set(bundle.task_names):
            raise FulcrumError(
                f"{bundle.variant_path(variant)}: the network predicts {', '.join(session.tasks)}, "
                f"the manifest names {', '.join(bundle.task_names)}; export the bundle again"
            )
        engine = cls(session, bundle.task_names, variant, crew if chosen is CPU else None)
        engine._prove(bundle)
        engine._warm_up(bundle.sample.inputs, BUCKETS if chosen.fixed_shapes else (1, CHUNK))
        return engine

    def predict(self, inputs: NetworkInputs) -> dict[str, npt.NDArray[np.float32]]:
        """Predictions by task in the manifest's order, float32 [N]. Safe to call from many threads."""
        predict = self._session.predict
        found = predict(inputs) if self._crew is None else self._crew.run(predict, inputs)
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
            differences = np.abs(predictions - expected)
            if self.variant == FP32:
                self._hold(task, bundle, float(np.max(differences, initial=0.0)), _TOLERANCE)
            else:
                entry = bundle.manifest.variants[self.variant]
                spread = float(np.sqrt(np.mean(differences**2)))
                self._hold(task, bundle, float(np.max(differences)), entry.tolerance.get(task, 0.0))
                self._hold(task, bundle, spread, _SPREAD * entry.sample.get(task, 0.0) + _TOLERANCE)

    def _hold(self, task: str, bundle: Bundle, difference: float, most: float) -> None:
        # Written so that NaN fails.
        if not difference <= most:
            remedy = "export the bundle again" if self.variant == FP32 else f"set variant to {FP32}"
            raise FulcrumError(
                f"bundle {bundle.path}: {self.variant} on {self.provider}: predictions of {task} differ from "
                f"the parity sample by {difference:.2g}, more than {most:.2g}; {remedy}"
            )

    def _warm_up(self, sample: NetworkInputs, sizes: Sequence[int]) -> None:
        """First calls of each size allocate and choose kernels: let no request, which has one user, pay."""
        rows = len(sample.row_to_user)
        for size in sizes if rows else ():
            item = sample.item.take(np.resize(np.arange(rows), size))
            self.predict(
                NetworkInputs(sample.user.take(np.zeros(1, np.int64)), item, np.zeros(size, np.int64))
            )


def _mapped(bundle: Bundle, path: Path, shared: SharedWeights) -> NetworkSession | None:
    """From shared weights. Large tables, beside the network, are mapped as they are: not worth a copy."""
    if NETWORK_DATA in bundle.manifest.files:
        return None
    return shared.session(path, bundle.manifest.files[path.name].sha256)


def _session(path: Path, provider: ExecutionProvider, threads: int) -> NetworkSession:
    own = (provider.runtime, provider.options(threads))
    # The CPU takes what the provider lacks.
    choices: list[ProviderChoice] = [own] if provider is CPU else [own, CPU.runtime]
    if provider.fixed_shapes:
        return BucketedSession(path, choices, threads, BUCKETS, provider.device)
    return NetworkSession(path, choices)
