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

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from model.bundle.inputs import NetworkInputs
from model.bundle.manifest import (
    ENCODER,
    FP32,
    FUSION,
    MANIFEST,
    NETWORK,
    SAMPLE,
    SCHEMA,
    FileEntry,
    Manifest,
    file_entry,
    read_manifest,
    version_of,
)
from model.encoding import EncodedRows, Encoder
from model.errors import FulcrumError, first_problem
from model.schema import Schema

_REQUIRED = (NETWORK, ENCODER, SCHEMA, FUSION, SAMPLE)


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
    try:
        schema = Schema.model_validate_json((folder / SCHEMA).read_bytes())
    except ValidationError as error:
        raise FulcrumError(f"bundle {folder}: {SCHEMA}: {first_problem(error, Schema)}") from error
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


def _verify(path: Path, entry: FileEntry) -> None:
    try:
        found = file_entry(path)
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
