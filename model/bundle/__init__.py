"""The folder that training and serving share. Only `session`, which runs its network, needs onnxruntime."""

from model.bundle.bundle import Bundle, Sample, load_bundle
from model.bundle.manifest import (
    ENCODER,
    FP32,
    FUSION,
    MANIFEST,
    MANIFEST_FILES,
    MANIFEST_SUM,
    NETWORK,
    NETWORK_DATA,
    SAMPLE,
    SCHEMA,
    WEIGHTS,
    Manifest,
    VariantEntry,
    read_manifest,
    write_manifest,
)

__all__ = [
    "ENCODER",
    "FP32",
    "FUSION",
    "MANIFEST",
    "MANIFEST_FILES",
    "MANIFEST_SUM",
    "NETWORK",
    "NETWORK_DATA",
    "SAMPLE",
    "SCHEMA",
    "WEIGHTS",
    "Bundle",
    "Manifest",
    "Sample",
    "VariantEntry",
    "load_bundle",
    "read_manifest",
    "write_manifest",
]
