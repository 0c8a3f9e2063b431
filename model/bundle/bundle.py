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

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from model.bundle.external import external_files
from model.bundle.inputs import NetworkInputs
from model.bundle.manifest import (
    ENCODER,
    FP32,
    FUSION,
    MANIFEST,
    NETWORK,
    NETWORK_DATA,
    SAMPLE,
    SCHEMA,
    FileEntry,
    Manifest,
    read_manifest,
    sha256_of,
    version_of,
)
from model.encoding import EncodedRows, Encoder
from model.errors import FulcrumError, first_problem
from model.files import open_regular, read_file
from model.schema import Schema

_REQUIRED = (NETWORK, ENCODER, SCHEMA, FUSION, SAMPLE)

_MOST_SCHEMA_BYTES = 4 << 20
_MOST_ENCODER_BYTES = 1 << 30
_MOST_SAMPLE_BYTES = 256 << 20


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
        """The inverse of `save`.

        Raises:
            Exception: of many types, where the file is none, or would take more memory than its own size.
        """
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            held = os.fstat(file.fileno()).st_size
            inflated = sum(member.file_size for member in archive.infolist())
        if inflated > held or held > _MOST_SAMPLE_BYTES:
            raise ValueError(f"{held} bytes that inflate to {inflated}; expected no compression")
        with open_regular(path) as file, np.load(file, allow_pickle=False) as arrays:
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
    def request_features(self) -> list[str]:
        """Features that a request may say of its user and its context."""
        return [feature.name for feature in self.schema.features if feature.side != "item"]

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
    if manifest.version != version_of(manifest.files):
        raise FulcrumError(f"bundle {folder}: {MANIFEST}: the version is not the hash of the files it lists")
    _check_graphs(folder, manifest)
    try:
        schema = Schema.model_validate_json(_read(folder / SCHEMA, _MOST_SCHEMA_BYTES))
    except ValidationError as error:
        raise FulcrumError(f"bundle {folder}: {SCHEMA}: {first_problem(error, Schema)}") from error
    encoded = _read(folder / ENCODER, _MOST_ENCODER_BYTES)
    try:
        encoder = Encoder.from_json(schema, encoded)
    except FulcrumError as error:
        raise FulcrumError(f"bundle {folder}: {ENCODER}: {error}") from error
    if encoder.fingerprint != manifest.encoder_fingerprint:
        raise FulcrumError(f"bundle {folder}: {ENCODER}: not the encoder that the manifest names")
    if schema.task_names != [task.name for task in manifest.tasks]:
        raise FulcrumError(f"bundle {folder}: {MANIFEST} and {SCHEMA} name different tasks")
    try:
        sample = Sample.load(folder / SAMPLE)
    except OSError as error:
        raise FulcrumError(f"bundle file {folder / SAMPLE} is unreadable ({error.strerror})") from error
    except Exception as error:  # zipfile, zlib and numpy raise many types over damage
        raise FulcrumError(f"bundle {folder}: {SAMPLE}: not a parity sample ({error})") from error
    return Bundle(folder, manifest, schema, encoder, sample)


def _check_graphs(folder: Path, manifest: Manifest) -> None:
    """Raise FulcrumError where a graph takes weights from a file whose checksum nobody compares."""
    graphs = {NETWORK, *(entry.file for entry in manifest.variants.values() if entry.passed and entry.file)}
    for graph in sorted(graphs):
        try:
            with open_regular(folder / graph) as file:
                foreign = sorted(external_files(file) - ({NETWORK_DATA} & manifest.files.keys()))
        except (OSError, ValueError) as error:
            raise FulcrumError(f"bundle {folder}: {graph}: not an ONNX file ({error})") from error
        if foreign:
            raise FulcrumError(
                f"bundle {folder}: {graph} takes weights from {foreign[0]!r}; "
                f"expected {NETWORK_DATA} or none; export the bundle again"
            )


def _read(path: Path, most_bytes: int) -> bytes:
    try:
        return read_file(path, most_bytes)
    except OSError as error:
        raise FulcrumError(f"bundle file {path} is unreadable ({error.strerror})") from error


def _verify(path: Path, entry: FileEntry) -> None:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            sha256 = sha256_of(file, size) if size == entry.bytes else ""
    except OSError as error:
        raise FulcrumError(f"bundle file {path} is missing or unreadable ({error.strerror})") from error
    if size != entry.bytes:
        raise FulcrumError(f"bundle file {path} is damaged: expected {entry.bytes} bytes, found {size}")
    if sha256 != entry.sha256:
        raise FulcrumError(
            f"bundle file {path} is damaged: expected sha256 {entry.sha256[:12]}, found {sha256[:12]}"
        )
