"""Engine: the bundle's network on a chosen provider, proven before it serves. Arrays in, arrays out.

Knows neither raw features nor HTTP.

Shapes: N candidates.
"""

from __future__ import annotations

import time
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
from model.encoding import EncodedRows, SideEncoder
from model.errors import FulcrumError
from service.inference.buckets import BucketedSession
from service.inference.crew import Crew
from service.inference.providers import CPU, ExecutionProvider, Provider, ProviderError, choose
from service.inference.shared_weights import SharedWeights
from service.inference.variant import AUTO, choose_variant

CHUNK = 500
"""Most candidates of one network call: the grain at which deadlines are kept and requests take turns."""

BUCKETS = (32, 64, 128, 256, CHUNK)
"""Numbers of rows that a network is run with where each shape costs a preparation of its own."""

_TOLERANCE = 1e-5
"""Largest difference of float32 from the bundle's parity sample, which the CPU made, on any provider: all
differ but in the order of their sums."""

_SLOWEST_S = 5.0
"""Seconds that a call of the largest chunk may take once it is warm: hundreds of times what networks do."""

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
        """Load the network, prove it on the bundle's parity sample and on the largest ids, and warm it up.

        Raises:
            ProviderError: the provider is not there.
            FulcrumError: the variant is not there, or the network does not give the sample's predictions,
                lacks rows for what the encoder makes, needs more memory than there is, or takes seconds.
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
                raise ProviderError(
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
        engine._try_largest_ids(bundle)
        engine._warm_up(bundle, BUCKETS if chosen.fixed_shapes else (1, CHUNK))
        return engine

    def predict(self, inputs: NetworkInputs) -> dict[str, npt.NDArray[np.float32]]:
        """Predictions by task in the manifest's order, float32 [N]. Safe to call from many threads."""
        predict = self._session.predict
        found = predict(inputs) if self._crew is None else self._crew.run(predict, inputs)
        return {task: found[task] for task in self._tasks}

    def _prove(self, bundle: Bundle) -> None:
        found = self._try(bundle, bundle.sample.inputs, "the parity sample")
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

    def _try(self, bundle: Bundle, inputs: NetworkInputs, what: str) -> dict[str, npt.NDArray[np.float32]]:
        try:
            return self.predict(inputs)
        except Exception as error:  # onnxruntime raises a dozen types of its own
            reason = str(error).splitlines()[0] if str(error) else repr(error)
            raise FulcrumError(
                f"bundle {bundle.path}: {self.variant} on {self.provider}: the network does not run on "
                f"{what} ({reason}); export the bundle again"
            ) from error

    def _try_largest_ids(self, bundle: Bundle) -> None:
        """The tables must have a row for each id that the encoder makes, or some request would fail."""
        sides = bundle.encoder.sides
        user = _largest(sides["user"]).beside(_largest(sides["context"]))
        inputs = NetworkInputs(user, _largest(sides["item"]), np.zeros(1, np.int64))
        self._try(bundle, inputs, "the largest ids of its encoder")

    def _warm_up(self, bundle: Bundle, sizes: Sequence[int]) -> None:
        """First calls of each size allocate and choose kernels: let no request, which has one user, pay."""
        sample = bundle.sample.inputs
        rows = len(sample.row_to_user)
        took_s = 0.0
        for size in (*sizes, sizes[-1]) if rows else ():
            item = sample.item.take(np.resize(np.arange(rows), size))
            user = sample.user.take(np.zeros(1, np.int64))
            began = time.perf_counter()
            self._try(bundle, NetworkInputs(user, item, np.zeros(size, np.int64)), f"{size} candidates")
            took_s = time.perf_counter() - began
        if took_s > _SLOWEST_S:
            raise FulcrumError(
                f"bundle {bundle.path}: {self.variant} on {self.provider}: {sizes[-1]} candidates take "
                f"{took_s:.1f} s, more than {_SLOWEST_S:.0f} s; no request waits that long"
            )


def _largest(side: SideEncoder) -> EncodedRows:
    """One row of the largest ids that the side's encoder makes."""
    return EncodedRows(side.table_rows[None] - 1, np.zeros((1, side.numeric_columns), np.float32))


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
