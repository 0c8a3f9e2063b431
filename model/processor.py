"""The processor: which products it has instructions for. Knows no network."""

from __future__ import annotations

from functools import cache
from pathlib import Path

_BYTE_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}
"""What processors call instructions that add products of bytes up in 32 bits. Without them, bytes are no
faster, and x86 saturates at 16 bits on the way."""


@cache
def multiplies_bytes(processor: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor has instructions for products of bytes."""
    try:
        return not _BYTE_PRODUCTS.isdisjoint(processor.read_text().split())
    except OSError:
        return False
