"""Trial: load a bundle in a process of its own first. What would crash or hang this one is refused instead.

A network is a program of a sort: checksums say that nobody damaged it on the way, not that it is harmless. So
nothing but its manifest is read in a worker before a trial passed. What a trial says of the content is
remembered; that a trial failed (no memory, no time, a full disk) is not, as the next one may pass.

    python -m service.control.bundles.trial BUNDLE PROVIDER VARIANT SECONDS BYTES

prints what is wrong, and exits with 1 where the content is at fault, with 2 where it may pass.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import orjson

from model.bundle import load_bundle
from model.errors import FulcrumError
from model.files import read_file, replace_file
from service.control.bundles.catalog import Model
from service.control.bundles.loading import UnfitError
from service.inference.engine import Engine, EngineOptions
from service.inference.providers import Provider, ProviderError, choose
from service.processes.fleet import in_turn

_TIMEOUT_S, _LONGEST_S = 60.0, 600.0
_BYTES_PER_S = 50e6
"""A trial may take that long, and longer for what must be read: a slow disk is no fault of a bundle's."""

_LEAST_BYTES = 512 << 20
_UNFIT, _FAILED = 1, 2
_MOST_BYTES = 64 * 1024


@dataclass(frozen=True)
class _Outcome:
    """What became of a trial.

    Attributes:
        reason: what is wrong; nothing if nothing is.
        final: whether it is of the content, so that another trial would find the same.
        at: when it ended, of `time.time`.
    """

    reason: str
    final: bool
    at: float


class Trials:
    """Tries bundles, each content until a trial says what it is worth.

    Args:
        provider: where the network shall run.
        variant: of it.
        folder: keeps outcomes for the other workers and for those that come after; None without others.
        memory_bytes: what a worker can have beside the bundle that it serves.
    """

    def __init__(
        self, provider: Provider, variant: str, folder: Path | None, memory_bytes: int = _LEAST_BYTES
    ) -> None:
        self._provider = provider
        self._variant = variant
        self._folder = folder
        self._memory_bytes = max(memory_bytes, _LEAST_BYTES)
        self._outcomes: dict[str, _Outcome] = {}

    def run(self, model: Model) -> None:
        """Load the bundle elsewhere.

        Raises:
            UnfitError: what it holds cannot be used; says why.
            FulcrumError: the trial failed; another may pass.
        """
        content = hashlib.sha256(f"{model.path} {model.signature}".encode()).hexdigest()[:32]
        outcome = self._outcomes.get(content) or self._shared(model, f"trial-{content}")
        if outcome.final:
            self._outcomes[content] = outcome
        if outcome.reason:
            raise UnfitError(outcome.reason) if outcome.final else FulcrumError(outcome.reason)

    def _shared(self, model: Model, name: str) -> _Outcome:
        """The outcome of whichever worker tried first; a failed trial's only for who waited for it."""
        if self._folder is None:
            return self._try(model)
        began, file = time.time(), self._folder / name
        with in_turn(self._folder, name):
            with contextlib.suppress(OSError, ValueError, TypeError):
                outcome = _Outcome(**orjson.loads(read_file(file, _MOST_BYTES)))
                if outcome.final or outcome.at >= began:
                    return outcome
            outcome = self._try(model)
            with contextlib.suppress(OSError):  # without a folder, each worker tries for itself
                replace_file(file, orjson.dumps(outcome))
            return outcome

    def _try(self, model: Model) -> _Outcome:
        held = sum(size for _, _, size, _ in model.signature)
        seconds = min(_TIMEOUT_S + held / _BYTES_PER_S, _LONGEST_S)
        reason, final = _tried(model.path, self._provider, self._variant, seconds, self._memory_bytes + held)
        return _Outcome(reason, final, time.time())


def _tried(path: Path, provider: Provider, variant: str, seconds: float, memory: int) -> tuple[str, bool]:
    """What is wrong with the bundle, nothing if nothing is; and whether its content is at fault."""
    command = [sys.executable, "-m", __name__, str(path), provider, variant, str(seconds), str(memory)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(  # noqa: S603
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return f"bundle {path}: a trial load took more than {seconds:.0f} s", False
    except OSError as error:
        return f"bundle {path}: a trial load could not begin ({error.strerror})", False
    if done.returncode == 0:
        return "", True
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode in (_UNFIT, _FAILED) and said:
        return said, done.returncode == _UNFIT
    if done.returncode < 0:
        return f"bundle {path}: a trial load was ended by {signal.Signals(-done.returncode).name}", False
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return f"bundle {path}: a trial load failed ({last or f'exit code {done.returncode}'})", False


def _main(path: str, provider: str, variant: str, seconds: str, memory: str) -> int:
    signal.alarm(math.ceil(float(seconds)))  # the parent may have ended by then
    os.nice(5)
    try:
        if choose(cast(Provider, provider)).device == "cpu":  # CUDA maps more than there is
            _bound_memory(int(memory))
        Engine.load(load_bundle(Path(path)), EngineOptions(cast(Provider, provider), variant=variant))
    except FulcrumError as error:
        sys.stdout.write(f"{error}\n")
        return _FAILED if _may_pass(error) else _UNFIT
    return 0


def _bound_memory(more: int) -> None:
    """Let this process map so many bytes beyond those that it has mapped by now."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + more, mapped + more))


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
