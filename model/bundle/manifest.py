"""Manifest: what a bundle says of itself, and its checksums. Knows neither arrays nor networks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import orjson
from pydantic import AfterValidator, Field

from model.errors import FulcrumError, checked, shown
from model.events.catalogue import EventCatalogue
from model.files import open_regular, read_file
from model.frozen import Frozen

MANIFEST, MANIFEST_SUM, SCHEMA, ENCODER = "manifest.json", "manifest.sha256", "schema.json", "encoder.json"
NETWORK, NETWORK_DATA, FUSION, SAMPLE = "network.onnx", "network.onnx.data", "fusion.yaml", "sample.npz"
WEIGHTS = "weights.npz"
FP32 = "fp32"
"""The network as it was trained, the variant that every bundle has."""
MANIFEST_FILES = (MANIFEST, MANIFEST_SUM)
_MOST_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 18
_IDENTITY = (NETWORK, NETWORK_DATA, ENCODER, SCHEMA)


class FileEntry(Frozen):
    """A file of the bundle as it was written."""

    sha256: str
    bytes: int


class TaskEntry(Frozen):
    """A task that the network predicts."""

    name: str
    type: str
    bounds: tuple[float, float]


class VariantEntry(Frozen):
    """The same network in other numbers, and what became of it when it was made."""

    passed: bool
    """Whether it passed its quality gate: no other serves."""
    file: str | None
    """Its graph, None where it did not pass."""
    provider: str
    """The execution provider that it is made for."""
    speedup: float
    """Time of the float32 network over its own, 500 candidates, one thread, where it was made."""
    tolerance: dict[str, float]
    """Largest difference from float32 by task, on all rows that it was judged on."""
    sample: dict[str, float]
    """Root mean square difference from float32 by task, on the parity sample."""
    gate: dict[str, Any]
    """What it was judged by."""


def moment(text: str) -> datetime:
    """A time as records spell it, ISO 8601; UTC where it names no zone.

    Raises:
        ValueError: it is none.
    """
    try:
        read = datetime.fromisoformat(text)
        return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"expected a time such as 2026-01-31T12:00:00+00:00, found {shown(text)}") from None


def _checked_moment(text: str) -> str:
    moment(text)
    return text


class Manifest(Frozen):
    """`manifest.json`."""

    format: Literal[1] = 1
    name: str
    """Recipe and network, for people."""
    version: str
    """sha256 of network, encoder and schema."""
    created: Annotated[str, AfterValidator(_checked_moment)]
    """UTC, ISO 8601."""
    files: dict[str, FileEntry]
    tasks: tuple[TaskEntry, ...]
    encoder_fingerprint: str
    network: dict[str, Any]
    """The network's configuration and size."""
    training: dict[str, Any]
    """How it was trained: configuration, epochs, seed."""
    data: dict[str, Any]
    """What it was trained on: fingerprint, rows a split."""
    metrics: dict[str, Any]
    """Validation metrics of the best epoch."""
    parity: dict[str, float]
    """Largest difference of torch and onnxruntime by number of candidates."""
    environment: dict[str, str]
    example: dict[str, Any] = Field(default_factory=dict)
    """A request body that this bundle can answer: shown in the API's documentation."""
    variants: dict[str, VariantEntry] = Field(default_factory=dict)
    """By name, `fp32` apart."""
    events: EventCatalogue | None = None
    """Which feedback belongs to what this bundle ranks; no part of its identity."""


def write_manifest(folder: Path, **fields: Any) -> Manifest:
    """Checksum the folder's files and write the manifest, which completes the bundle.

    Args:
        folder: holds the bundle's other files.
        **fields: the manifest's fields, less format, version and files.
    """
    files = {
        path.name: file_entry(path) for path in sorted(folder.iterdir()) if path.name not in MANIFEST_FILES
    }
    manifest = Manifest(version=version_of(files), files=files, **fields)
    text = orjson.dumps(manifest.model_dump(mode="json"), option=orjson.OPT_INDENT_2)
    (folder / MANIFEST).write_bytes(text)
    (folder / MANIFEST_SUM).write_bytes(_sum_line(text))
    return manifest


def read_manifest(folder: Path) -> Manifest:
    """What the folder says it is; its other files are not looked at.

    Raises:
        FulcrumError: the folder is no bundle, of another format, or its manifest is damaged.
    """
    path = folder / MANIFEST
    try:
        text = read_file(path, _MOST_BYTES)
    except OSError as error:
        raise FulcrumError(
            f"{folder} is not a bundle: it has no readable {MANIFEST} ({error.strerror}); "
            "`fulcrum train` makes one"
        ) from error
    try:
        checksum = read_file(folder / MANIFEST_SUM, _MOST_BYTES)
    except OSError as error:
        raise FulcrumError(
            f"bundle file {folder / MANIFEST_SUM} is missing or unreadable ({error.strerror})"
        ) from error
    if checksum != _sum_line(text):
        raise FulcrumError(f"bundle {folder}: {MANIFEST} is damaged: it does not match {MANIFEST_SUM}")
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise FulcrumError(f"bundle {folder}: {MANIFEST}: not JSON ({error})") from error
    found = document.get("format") if isinstance(document, dict) else None
    if found != 1:
        raise FulcrumError(f"bundle {folder}: {MANIFEST}: expected format 1, found {found!r}")
    return checked(Manifest, document, f"bundle {folder}: {MANIFEST}")


def _sum_line(text: bytes) -> bytes:
    return f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n".encode()


def file_entry(path: Path) -> FileEntry:
    """A file's checksum and size. Raises OSError where it cannot be read, or is no regular file."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        return FileEntry(sha256=sha256_of(file, size), bytes=size)


def sha256_of(file: BinaryIO, size: int) -> str:
    """Of the next `size` bytes, in hexadecimal: a file that grows meanwhile is not read for ever."""
    digest = hashlib.sha256()
    while size > 0 and (block := file.read(min(size, _BLOCK_BYTES))):
        digest.update(block)
        size -= len(block)
    return digest.hexdigest()


def version_of(files: Mapping[str, FileEntry]) -> str:
    """The bundle's version: `sha256:...` of the files that make its identity."""
    identity = {name: files[name].sha256 for name in _IDENTITY if name in files}
    return f"sha256:{hashlib.sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).hexdigest()}"
