"""Variants: in which numbers a bundle's network runs here. Loads no network."""

from __future__ import annotations

from model.bundle import FP32, Bundle
from model.errors import FulcrumError
from model.processor import multiplies_bytes
from service.inference.providers import ExecutionProvider

AUTO = "auto"

_WORTH = 1.1
"""A variant that was less faster where it was made is not worth its differences."""


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
            f"set provider to {made_for}, or variant to {FP32}"
        )
    return wanted
