"""Environment: versions and machine that a run's numbers depend on."""

from __future__ import annotations

import platform
import sys
from importlib import metadata

from model.cores import available_cores


def environment() -> dict[str, str]:
    """Versions and machine that a run's numbers depend on."""
    packages = ("fulcrum", "torch", "numpy", "polars", "onnx", "onnxruntime")
    return {
        "python": sys.version.split()[0],
        **{name: metadata.version(name) for name in packages},
        "platform": platform.platform(),
        "cores": str(available_cores()),
    }
