"""Tidying: keep memory flat while requests and bundles come and go. Knows nothing of either."""

from __future__ import annotations

import contextlib
import ctypes
import gc

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
