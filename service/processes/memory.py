"""Tidying: keep memory flat while requests and bundles come and go. Knows nothing of either."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
from pathlib import Path

from model.cores import own_groups

_CGROUPS, _OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_M_ARENA_MAX = -8
_HEAPS = 2


def bound_heaps() -> None:
    """Let all threads share two heaps: with one each, the holes of one are of no use to another."""
    with contextlib.suppress(AttributeError, OSError):  # another C library than glibc
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, _HEAPS)


def tidy() -> None:
    """Collect cycles, and return free memory to the system: malloc would keep most of what a bundle held.

    What is frozen is not walked, so that this takes a millisecond.
    """
    gc.collect()
    trim()


def trim() -> None:
    """Return free memory to the system, which malloc keeps after a burst of requests, too."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def resident() -> int:
    """Bytes of this process that are in memory, those that it shares with others included."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):  # another system than Linux
        return 0


def memory_limit(cgroups: Path = _CGROUPS, own_cgroup: Path = _OWN_CGROUP) -> int:
    """Bytes of memory that this process's container has, at most those of the machine."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for group, second in own_groups("memory", cgroups, own_cgroup):
        # Without a limit, v2 says `max`, and v1 a number beyond any machine's.
        with contextlib.suppress(OSError, ValueError):
            limits.append(int((group / ("memory.max" if second else "memory.limit_in_bytes")).read_text()))
    return min(limits)
