"""Bundle: the folder that training and serving share. Knows no onnxruntime, no torch and no HTTP.

    manifest.json    what it is: version, checksums, tasks, metrics, provenance, an example request
    manifest.sha256  its own checksum, as sha256sum writes it
    schema.json      the data set's features and tasks
    encoder.json     the frozen encoder
    network.onnx     the network (with network.onnx.data beside it when its tables are large)
    fusion.yaml      the default fusion config
    sample.npz       encoded rows and torch's predictions for them: checked again at every load
    weights.npz      weights by feature and by name, for a training that goes on from here; serving reads none
    network.int8.onnx   a variant: the same network in other numbers, which `fulcrum quantize` adds

The version hashes network, encoder and schema alone, so new metrics or another default fusion make no
new version. Each file's checksum is verified before anything is used; nothing is unpickled.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import Field, ValidationError

from model.encoding import EncodedRows, Encoder
from model.errors import FulcrumError, first_problem
from model.frozen import Frozen
from model.inference import NetworkInputs
from model.schema import Schema

__all__ = [
    "FP32",
    "MANIFEST_FILES",
    "NETWORK",
    "NETWORK_DATA",
    "WEIGHTS",
    "Bundle",
    "FileEntry",
    "Manifest",
    "Sample",
    "VariantEntry",
    "load_bundle",
    "read_manifest",
    "write_manifest",
]

MANIFEST, MANIFEST_SUM, SCHEMA, ENCODER = "manifest.json", "manifest.sha256", "schema.json", "encoder.json"
NETWORK, NETWORK_DATA, FUSION, SAMPLE = "network.onnx", "network.onnx.data", "fusion.yaml", "sample.npz"
WEIGHTS = "weights.npz"
FP32 = "fp32"
"""The network as it was trained, the variant that every bundle has."""
MANIFEST_FILES = (MANIFEST, MANIFEST_SUM)
_IDENTITY = (NETWORK, NETWORK_DATA, ENCODER, SCHEMA)
_REQUIRED = (NETWORK, ENCODER, SCHEMA, FUSION, SAMPLE)


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


class Manifest(Frozen):
    """`manifest.json`."""

    format: Literal[1] = 1
    name: str
    """Recipe and network, for people."""
    version: str
    """sha256 of network, encoder and schema."""
    created: str
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


@dataclass(frozen=True)
class Sample:
    """Inputs with the predictions torch gave for them.

    Attributes:
        inputs: R user rows, N candidates.
        expected: predictions by task, float32 [N].
    """

    inputs: NetworkInputs
    expected: Mapping[str, npt.NDArray[np.float32]]

    def save(self, path: Path) -> None:
        """Write as a plain npz."""
        arrays = dict(self.inputs.arrays())
        arrays |= {f"expected_{task}": values for task, values in self.expected.items()}
        np.savez(path, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> Sample:
        """The inverse of `save`."""
        with np.load(path, allow_pickle=False) as arrays:
            inputs = NetworkInputs(
                EncodedRows(arrays["user_ids"], arrays["user_numeric"]),
                EncodedRows(arrays["item_ids"], arrays["item_numeric"]),
                arrays["row_to_user"],
            )
            prefix = "expected_"
            expected = {
                name.removeprefix(prefix): arrays[name] for name in arrays.files if name.startswith(prefix)
            }
        return cls(inputs, expected)


@dataclass(frozen=True)
class Bundle:
    """A verified bundle.

    Attributes:
        path: its folder.
        manifest: what it says of itself.
        schema: features and tasks.
        encoder: the frozen encoder.
        sample: the parity sample.
    """

    path: Path
    manifest: Manifest
    schema: Schema
    encoder: Encoder
    sample: Sample

    @property
    def version(self) -> str:
        """`sha256:...` of network, encoder and schema."""
        return self.manifest.version

    @property
    def task_names(self) -> list[str]:
        """Tasks in the order of the manifest."""
        return [task.name for task in self.manifest.tasks]

    @property
    def network_path(self) -> Path:
        """The ONNX file."""
        return self.path / NETWORK

    def variant_path(self, variant: str) -> Path:
        """The ONNX file of a variant that passed its gate.

        Raises:
            FulcrumError: there is none such.
        """
        if variant == FP32:
            return self.network_path
        entry = self.manifest.variants.get(variant)
        if entry is None:
            known = ", ".join([FP32, *self.manifest.variants])
            raise FulcrumError(
                f"bundle {self.path}: no variant {variant!r}; it has {known}; `fulcrum quantize` makes int8"
            )
        if not entry.passed or entry.file is None:
            raise FulcrumError(
                f"bundle {self.path}: variant {variant} did not pass its quality gate and does not serve; "
                f"use {FP32}"
            )
        return self.path / entry.file

    @property
    def fusion_path(self) -> Path:
        """The default fusion config."""
        return self.path / FUSION


def write_manifest(folder: Path, **fields: Any) -> Manifest:
    """Checksum the folder's files and write the manifest, which completes the bundle.

    Args:
        folder: holds the bundle's other files.
        **fields: the manifest's fields, less format, version and files.
    """
    files = {path.name: _entry(path) for path in sorted(folder.iterdir()) if path.name not in MANIFEST_FILES}
    manifest = Manifest(version=_version(files), files=files, **fields)
    text = orjson.dumps(manifest.model_dump(mode="json"), option=orjson.OPT_INDENT_2)
    (folder / MANIFEST).write_bytes(text)
    (folder / MANIFEST_SUM).write_bytes(_sum_line(text))
    return manifest


def load_bundle(folder: Path) -> Bundle:
    """Verify every file, then load.

    Raises:
        FulcrumError: the folder is no bundle, of another format, or damaged; names the file and the reason.
    """
    manifest = read_manifest(folder)
    absent = [name for name in _REQUIRED if name not in manifest.files]
    if absent:
        raise FulcrumError(
            f"bundle {folder}: the manifest does not list {absent[0]}; export the bundle again"
        )
    for name, entry in manifest.files.items():
        if Path(name).name != name:
            raise FulcrumError(
                f"bundle {folder}: the manifest names {name!r}, which is not a plain file name"
            )
        _verify(folder / name, entry)
    for name, variant in manifest.variants.items():
        if variant.passed and variant.file not in manifest.files:
            raise FulcrumError(f"bundle {folder}: {MANIFEST} does not list the file of variant {name}")
    if manifest.version != _version(manifest.files):
        raise FulcrumError(f"bundle {folder}: {MANIFEST}: the version is not the hash of the files it lists")
    try:
        schema = Schema.model_validate_json((folder / SCHEMA).read_bytes())
    except ValidationError as error:
        raise FulcrumError(f"bundle {folder}: {SCHEMA}: {first_problem(error)}") from error
    try:
        encoder = Encoder.from_json(schema, (folder / ENCODER).read_bytes())
    except FulcrumError as error:
        raise FulcrumError(f"bundle {folder}: {ENCODER}: {error}") from error
    if encoder.fingerprint != manifest.encoder_fingerprint:
        raise FulcrumError(f"bundle {folder}: {ENCODER}: not the encoder that the manifest names")
    if schema.task_names != [task.name for task in manifest.tasks]:
        raise FulcrumError(f"bundle {folder}: {MANIFEST} and {SCHEMA} name different tasks")
    try:
        sample = Sample.load(folder / SAMPLE)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise FulcrumError(f"bundle {folder}: {SAMPLE}: not a parity sample ({error})") from error
    return Bundle(folder, manifest, schema, encoder, sample)


def read_manifest(folder: Path) -> Manifest:
    """What the folder says it is; its other files are not looked at.

    Raises:
        FulcrumError: the folder is no bundle, of another format, or its manifest is damaged.
    """
    path = folder / MANIFEST
    try:
        text = path.read_bytes()
    except OSError as error:
        raise FulcrumError(
            f"{folder} is not a bundle: it has no readable {MANIFEST}; `fulcrum train --out` makes one"
        ) from error
    try:
        checksum = (folder / MANIFEST_SUM).read_bytes()
    except OSError as error:
        raise FulcrumError(f"bundle file {folder / MANIFEST_SUM} is missing or unreadable") from error
    if checksum != _sum_line(text):
        raise FulcrumError(f"bundle {folder}: {MANIFEST} is damaged: it does not match {MANIFEST_SUM}")
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise FulcrumError(f"bundle {folder}: {MANIFEST}: not JSON ({error})") from error
    found = document.get("format") if isinstance(document, dict) else None
    if found != 1:
        raise FulcrumError(f"bundle {folder}: {MANIFEST}: expected format 1, found {found!r}")
    try:
        return Manifest.model_validate(document)
    except ValidationError as error:
        raise FulcrumError(f"bundle {folder}: {MANIFEST}: {first_problem(error)}") from error


def _sum_line(text: bytes) -> bytes:
    return f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n".encode()


def _verify(path: Path, entry: FileEntry) -> None:
    try:
        found = _entry(path)
    except OSError as error:
        raise FulcrumError(f"bundle file {path} is missing or unreadable ({error.strerror})") from error
    if found.bytes != entry.bytes:
        raise FulcrumError(
            f"bundle file {path} is damaged: expected {entry.bytes} bytes, found {found.bytes}"
        )
    if found.sha256 != entry.sha256:
        raise FulcrumError(
            f"bundle file {path} is damaged: expected sha256 {entry.sha256[:12]}, found {found.sha256[:12]}"
        )


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        return FileEntry(sha256=hashlib.file_digest(file, "sha256").hexdigest(), bytes=path.stat().st_size)


def _version(files: Mapping[str, FileEntry]) -> str:
    identity = {name: files[name].sha256 for name in _IDENTITY if name in files}
    return f"sha256:{hashlib.sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS)).hexdigest()}"
