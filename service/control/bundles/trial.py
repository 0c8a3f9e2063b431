"""Trial: load a bundle in a process of its own first. What would crash or hang this one is refused instead.

A network is a program of a sort: checksums say that nobody damaged it on the way, not that it is harmless.

    python -m service.control.trial BUNDLE PROVIDER VARIANT      says on stdout what is wrong, and exits 1
"""

from __future__ import annotations

import hashlib
import math
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import cast

from model.bundle import load_bundle
from model.errors import FulcrumError
from model.files import FileLock, replace_file
from service.control.bundles.catalog import Model
from service.inference.engine import Engine, EngineOptions
from service.inference.providers import Provider, choose

_TIMEOUT_S = 120.0
_MEMORY_BYTES = 16 << 30
"""Address space of a trial on the CPU: far above any bundle's need, below what takes a host down."""


class Trials:
    """Tries bundles, each content once.

    Args:
        provider: where the network shall run.
        variant: of it.
        folder: keeps outcomes for the other workers and for those that come after; None without others.
    """

    def __init__(self, provider: Provider, variant: str, folder: Path | None) -> None:
        self._provider = provider
        self._variant = variant
        self._folder = folder
        self._outcomes: dict[str, str] = {}

    def run(self, model: Model) -> None:
        """Load the bundle elsewhere.

        Raises:
            FulcrumError: it cannot be used; says why.
        """
        content = f"{model.path} {model.signature}"
        if content not in self._outcomes:
            self._outcomes[content] = (
                self._shared(model, self._folder)
                if self._folder
                else _try(model.path, self._provider, self._variant)
            )
        if self._outcomes[content]:
            raise FulcrumError(self._outcomes[content])

    def _shared(self, model: Model, folder: Path) -> str:
        """The outcome of whichever worker tried first."""
        name = hashlib.sha256(f"{model.path} {model.signature}".encode()).hexdigest()
        outcome = folder / f"trial-{name[:32]}"
        with FileLock(folder / "trial.lock"):
            if not outcome.exists():
                replace_file(outcome, _try(model.path, self._provider, self._variant).encode())
            return outcome.read_text()


def _try(path: Path, provider: Provider, variant: str) -> str:
    """What is wrong with the bundle; nothing if nothing is."""
    command = [sys.executable, "-m", __name__, str(path), provider, variant]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(  # noqa: S603
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        return f"bundle {path}: a trial load took more than {_TIMEOUT_S:.0f} s"
    if done.returncode == 0:
        return ""
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode == 1 and said:
        return said
    if done.returncode < 0:
        return f"bundle {path}: a trial load was ended by {signal.Signals(-done.returncode).name}"
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return f"bundle {path}: a trial load failed ({last or f'exit code {done.returncode}'})"


def _main(path: str, provider: str, variant: str) -> int:
    signal.alarm(math.ceil(_TIMEOUT_S))  # whoever started this may be gone by then
    os.nice(5)
    try:
        if choose(cast(Provider, provider)).device == "cpu":  # CUDA maps more than there is
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
        Engine.load(load_bundle(Path(path)), EngineOptions(cast(Provider, provider), variant=variant))
    except FulcrumError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:4]))
