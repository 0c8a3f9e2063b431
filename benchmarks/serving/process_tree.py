"""A process with all that it starts: one core for all, frozen while others are measured, ended whole.

Knows nothing of what the processes do. Linux alone: what a process orphans comes back to it, since it is made
the subreaper of its descendants.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.support.service_process import private_bytes

__all__ = ["ProcessTree"]

_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None)


class ProcessTree:
    """Started on these cores, with its output in a log.

    Args:
        command: program and arguments.
        cores: that it and all its descendants may use.
        env: beside this process's own.
        cwd: where it runs.
        log: file for its output.
    """

    def __init__(
        self, command: Sequence[str], cores: set[int], env: Mapping[str, str], cwd: Path, log: Path
    ) -> None:
        def prepare() -> None:
            os.sched_setaffinity(0, cores)
            _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

        self.log = log
        with log.open("w") as output:
            self._root = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **env},
                cwd=cwd,
                preexec_fn=prepare,
                start_new_session=True,
            )

    @property
    def ended(self) -> bool:
        """Whether the first process is gone."""
        return self._root.poll() is not None

    def members(self) -> dict[int, int]:
        """The process and its descendants: when each began, which tells it from a later one of its number."""
        children: dict[int, list[int]] = {}
        began: dict[int, int] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                pid, words = int(stat.parent.name), stat.read_text().rpartition(")")[2].split()
                children.setdefault(int(words[1]), []).append(pid)
                began[pid] = int(words[19])
        found = [self._root.pid]
        for pid in found:
            found += children.get(pid, [])
        return {pid: began[pid] for pid in found if pid in began}

    def private_bytes(self) -> int:
        """Memory that no process outside holds, by smaps_rollup, of all of them."""
        total = 0
        for pid in self.members():
            with contextlib.suppress(OSError):
                total += private_bytes(pid)
        return total

    def freeze(self) -> None:
        """No processor time until `thaw`."""
        self._send(signal.SIGSTOP, self.members())

    def thaw(self) -> None:
        """Go on."""
        self._send(signal.SIGCONT, self.members())

    def stop(self, within_s: float = 20.0) -> None:
        """Ask the first to end; kill what is left then."""
        members = self.members()
        self._send(signal.SIGCONT, members)
        self._root.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._root.wait(within_s)
        self._send(signal.SIGKILL, [pid for pid, began in members.items() if _began(pid) == began])
        self._root.wait()

    def _send(self, number: signal.Signals, pids: Iterable[int]) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _began(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return None
