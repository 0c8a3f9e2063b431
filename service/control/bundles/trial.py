"""Trial: load a bundle in a process of its own first. What would crash or hang this one is refused instead.

A network is a program of a sort: checksums say that nobody damaged it on the way, not that it is harmless. So
nothing but its manifest is read in a worker before a trial passed (service/processes/trials.py).

    python -m service.control.bundles.trial BUNDLE PROVIDER VARIANT SECONDS BYTES
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import cast

from model.bundle import load_bundle
from model.errors import FulcrumError
from service.control.bundles.catalog import Model
from service.control.bundles.loading import UnfitError
from service.inference.engine import Engine, EngineOptions
from service.inference.providers import Provider, ProviderError, choose
from service.processes.bounds import FAILED, UNFIT, bound_memory, bound_time
from service.processes.trials import LEAST_BYTES, Outcomes, tried

_TIMEOUT_S, _LONGEST_S = 60.0, 600.0
_BYTES_PER_S = 50e6
"""A trial may take that long, and longer for what must be read: a slow disk is no fault of a bundle's."""


class Trials:
    """Tries bundles, each content until a trial says what it is worth.

    Args:
        provider: where the network shall run.
        variant: of it.
        folder: keeps outcomes for the other workers and for those that come after; None without others.
        memory_bytes: what a worker can have beside the bundle that it serves.
    """

    def __init__(
        self, provider: Provider, variant: str, folder: Path | None, memory_bytes: int = LEAST_BYTES
    ) -> None:
        self._provider = provider
        self._variant = variant
        self._memory_bytes = max(memory_bytes, LEAST_BYTES)
        self._outcomes = Outcomes(folder)

    def run(self, model: Model) -> None:
        """Load the bundle elsewhere.

        Raises:
            UnfitError: what it holds cannot be used; says why.
            FulcrumError: the trial failed; another may pass.
        """
        content = hashlib.sha256(f"{model.path} {model.signature}".encode()).hexdigest()[:32]
        outcome = self._outcomes.of(content, lambda: self._try(model))
        if outcome.reason:
            raise UnfitError(outcome.reason) if outcome.final else FulcrumError(outcome.reason)

    def _try(self, model: Model) -> tuple[str, bool]:
        held = sum(size for _, _, size, _ in model.signature)
        seconds = min(_TIMEOUT_S + held / _BYTES_PER_S, _LONGEST_S)
        return _tried(model.path, self._provider, self._variant, seconds, self._memory_bytes + held)


def _tried(path: Path, provider: Provider, variant: str, seconds: float, memory: int) -> tuple[str, bool]:
    return tried(__name__, [str(path), provider, variant], seconds, memory, f"bundle {path}: ")


def _main(path: str, provider: str, variant: str, seconds: str, memory: str) -> int:
    bound_time(float(seconds))
    try:
        if choose(cast(Provider, provider)).device == "cpu":  # CUDA maps more than there is
            bound_memory(int(memory))
        Engine.load(load_bundle(Path(path)), EngineOptions(cast(Provider, provider), variant=variant))
    except FulcrumError as error:
        sys.stdout.write(f"{error}\n")
        return FAILED if _may_pass(error) else UNFIT
    return 0


def _may_pass(error: BaseException | None) -> bool:
    """Whether the system is behind an error, not the content: an unreadable file, no provider."""
    while error is not None:
        if isinstance(error, ProviderError | MemoryError):
            return True
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            return True
        error = error.__cause__
    return False


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:6]))
