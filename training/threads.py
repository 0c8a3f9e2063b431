"""How many cores this process may use."""

from __future__ import annotations

import os

__all__ = ["usable_cores"]


def usable_cores() -> int:
    """Cores of the process's affinity mask."""
    return len(os.sched_getaffinity(0))
