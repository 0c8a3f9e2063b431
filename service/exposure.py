"""Exposure ids: UUID version 7 (RFC 9562), so that they sort by time. Knows nothing of what they name."""

from __future__ import annotations

import secrets
import time
import uuid

__all__ = ["new_exposure_id"]


def new_exposure_id() -> str:
    """48 bits of Unix milliseconds, then 74 random ones."""
    milliseconds = time.time_ns() // 1_000_000
    random_a, random_b = secrets.randbits(12), secrets.randbits(62)
    return str(uuid.UUID(int=milliseconds << 80 | 7 << 76 | random_a << 64 | 0b10 << 62 | random_b))
