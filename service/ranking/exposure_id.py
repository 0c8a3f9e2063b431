"""Exposure ids: UUID version 7 (RFC 9562), so that they sort by time. Knows nothing of what they name."""

from __future__ import annotations

import os
import time

_RANDOM_BITS = 0xFFF << 64 | (1 << 62) - 1
_VERSION_AND_VARIANT = 7 << 76 | 0b10 << 62


def new_exposure_id() -> str:
    """48 bits of Unix milliseconds, then 74 random ones."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big") & _RANDOM_BITS
    text = f"{milliseconds << 80 | _VERSION_AND_VARIANT | random:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def time_ms_of(exposure_id: str) -> int:
    """The milliseconds since 1970 in an id that `new_exposure_id` made."""
    return int(exposure_id[:8] + exposure_id[9:13], 16)
