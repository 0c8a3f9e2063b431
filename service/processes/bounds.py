"""Bounds: what the process of a trial may take, and how it ends.

Imports little, as each trial begins anew.
"""

from __future__ import annotations

import math
import os
import resource
import signal
from pathlib import Path

UNFIT, FAILED = 1, 2
"""Exit status where the content is at fault, and where another trial may pass."""


def bound_time(seconds: float) -> None:
    """End this process after so many seconds: its parent may have ended by then. Others come first."""
    signal.alarm(math.ceil(seconds))
    os.nice(5)


def bound_memory(more: int) -> None:
    """Let this process map so many bytes beyond those that it has mapped by now."""
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + more, mapped + more))
