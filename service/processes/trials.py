"""Trials: work of which nobody knows the end is done in a process of its own first, within time and memory.

What a trial says of the content is remembered, by all workers that share a folder; that a trial failed (no
memory, no time, a full disk) is not, as the next one may pass. A trial is a command that prints what is
wrong, and exits with `UNFIT` where the content is at fault, with `FAILED` where it may pass.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import orjson

from model.files import read_file, replace_file
from service.processes.bounds import FAILED, UNFIT
from service.processes.fleet import in_turn

LEAST_BYTES = 512 << 20
"""Memory that a trial may map at least."""
_MOST_BYTES = 64 * 1024


@dataclass(frozen=True)
class Outcome:
    """What became of a trial.

    Attributes:
        reason: what is wrong; nothing if nothing is.
        final: whether it is of the content, so that another trial would find the same.
        at: when it ended, of `time.time`.
    """

    reason: str
    final: bool
    at: float


class Outcomes:
    """What became of trials, by content.

    Args:
        folder: keeps outcomes for the other workers and for those that come after; None without others.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[str, Outcome] = {}

    def of(self, content: str, attempt: Callable[[], tuple[str, bool]]) -> Outcome:
        """What is known of a content; tried where nothing final is.

        Args:
            content: its hash.
            attempt: a trial, which gives an outcome's reason and whether it is final.
        """
        outcome = self._known.get(content) or self._shared(f"trial-{content}", attempt)
        if outcome.final:
            self._known[content] = outcome
        return outcome

    def _shared(self, name: str, attempt: Callable[[], tuple[str, bool]]) -> Outcome:
        """The outcome of whichever worker tried first; a failed trial's only for who waited for it."""
        if self._folder is None:
            return Outcome(*attempt(), time.time())
        began, file = time.time(), self._folder / name
        with in_turn(self._folder, name):
            with contextlib.suppress(OSError, ValueError, TypeError):
                outcome = Outcome(**orjson.loads(read_file(file, _MOST_BYTES)))
                if outcome.final or outcome.at >= began:
                    return outcome
            outcome = Outcome(*attempt(), time.time())
            with contextlib.suppress(OSError):  # without a folder, each worker tries for itself
                replace_file(file, orjson.dumps(outcome))
            return outcome


def tried(
    module: str, words: list[str], seconds: float, memory: int, title: str = "", given: bytes = b""
) -> tuple[str, bool]:
    """Run a trial: what is wrong, nothing if nothing is; and whether the content is at fault.

    Args:
        module: its command, which keeps to the bounds in its last two words (service/processes/bounds.py).
        words: of its command line; seconds and memory follow.
        seconds: that it may take.
        memory: bytes that it may map beyond what it has mapped by then.
        title: begins what is said of a trial that did not end by itself.
        given: what it reads from its standard input.
    """
    command = [sys.executable, "-m", module, *words, str(seconds), str(memory)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    try:
        done = subprocess.run(  # noqa: S603
            command, env=environment, input=given, capture_output=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return f"{title}a trial load took more than {seconds:.0f} s", False
    except OSError as error:
        return f"{title}a trial load could not begin ({error.strerror})", False
    if done.returncode == 0:
        return "", True
    said = done.stdout.decode(errors="replace").strip()
    if done.returncode in (UNFIT, FAILED) and said:
        return said, done.returncode == UNFIT
    if done.returncode < 0:
        return f"{title}a trial load was ended by {signal.Signals(-done.returncode).name}", False
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return f"{title}a trial load failed ({last or f'exit code {done.returncode}'})", False
