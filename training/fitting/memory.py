"""How the C library treats memory that a step frees. Knows nothing of tensors."""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_freed_memory() -> bool:
    """Keep freed memory for the next step, in place of giving it back: whether the C library took it.

    A step allocates and frees tensors of megabytes. glibc gives such memory back to the system, and the next
    step pays for every page of it again, which took a sixth of a step.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False  # another C library; it works as well, only slower
    return bool(mallopt(_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_TRIM_THRESHOLD, (1 << 31) - 1))
