"""Variants: in which numbers a bundle's network runs here. Loads no network."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from model.bundle import FP32, Bundle
from model.errors import FulcrumError
from service.inference.providers import ExecutionProvider

__all__ = ["AUTO", "choose_variant", "multiplies_bytes"]

AUTO = "auto"

_WORTH = 1.1
"""A variant that was less faster where it was made is not worth its differences."""

_BYTE_PRODUCTS = {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp"}
"""What processors call instructions that add products of bytes up in 32 bits. Without them, bytes are no
faster, and x86 saturates at 16 bits on the way."""


def choose_variant(bundle: Bundle, wanted: str, provider: ExecutionProvider) -> str:
    """The variant to load: `auto` takes the fastest that passed its gate and suits provider and processor.

    A rule and no measurement, so that all workers of a machine choose the same.

    Raises:
        FulcrumError: the bundle lacks the one that is wanted, or it is made for another provider.
    """
    if wanted == AUTO:
        fit = [
            (entry.speedup, name)
            for name, entry in bundle.manifest.variants.items()
            if entry.passed and entry.provider == provider.name and entry.speedup >= _WORTH
        ]
        return max(fit)[1] if fit and multiplies_bytes() else FP32
    bundle.variant_path(wanted)
    if wanted != FP32 and (made_for := bundle.manifest.variants[wanted].provider) != provider.name:
        raise FulcrumError(
            f"variant {wanted} is made for the provider {made_for}, not {provider.name}; "
            f"use --provider {made_for} or --variant {FP32}"
        )
    return wanted


@cache
def multiplies_bytes(processor: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor has instructions for products of bytes."""
    try:
        return not _BYTE_PRODUCTS.isdisjoint(processor.read_text().split())
    except OSError:
        return False
