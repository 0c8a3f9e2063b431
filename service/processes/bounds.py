"""Bounds: what a process beside the workers may take, and how it ends.

Imports little, as each trial begins anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import resource
import signal
import sys
from pathlib import Path

UNFIT, FAILED = 1, 2
"""Exit status where the content is at fault, and where another trial may pass."""


_PR_SET_PDEATHSIG = 1
"""Of Linux' prctl."""


def bound_time(seconds: float) -> None:
    """End this process after so many seconds: its parent may have ended by then. Others come first."""
    signal.alarm(math.ceil(seconds))
    os.nice(5)


def bound_memory(more: int) -> None:
    """Let this process map so many bytes beyond those that it has mapped by now."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + more, mapped + more))


def give_way() -> None:
    """Take only the time of cores that nobody else wants, as far as the system can tell."""
    os.nice(19)
    with contextlib.suppress(AttributeError, OSError):  # another system than Linux, or one that forbids it
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))


def end_with(parent: int, sent: signal.Signals = signal.SIGTERM) -> None:
    """Have the system send this process a signal once its parent is gone, whatever it does by then."""
    with contextlib.suppress(AttributeError, OSError):  # another C library than those of Linux
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, sent)
    if os.getppid() != parent:  # gone before the system was asked
        sys.exit(1)
