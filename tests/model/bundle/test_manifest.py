"""The manifest: written with checksums, read back, and refused where it is not what was written."""

from __future__ import annotations

import hashlib

import orjson
import pytest

from model.bundle.manifest import MANIFEST, MANIFEST_SUM, file_entry, read_manifest, write_manifest
from model.errors import FulcrumError

FIELDS = {
    "name": "tiny-ple",
    "created": "2026-01-01T00:00:00Z",
    "tasks": [{"name": "vtr", "type": "binary", "bounds": (0.0, 1.0)}],
    "encoder_fingerprint": "abc",
    **{name: {} for name in ("network", "training", "data", "metrics", "parity", "environment")},
}


@pytest.fixture
def folder(tmp_path):
    for name in ("network.onnx", "encoder.json", "schema.json", "fusion.yaml"):
        (tmp_path / name).write_text(f"content of {name}")
    return tmp_path


def forge(folder, text):
    """Any manifest, with a checksum to match."""
    (folder / MANIFEST).write_bytes(text)
    (folder / MANIFEST_SUM).write_text(f"{hashlib.sha256(text).hexdigest()}  {MANIFEST}\n")


def test_what_is_written_is_read_back(folder):
    written = write_manifest(folder, **FIELDS)
    assert read_manifest(folder) == written
    assert set(written.files) == {"network.onnx", "encoder.json", "schema.json", "fusion.yaml"}


def test_a_file_is_listed_by_its_size_and_checksum(folder):
    entry = file_entry(folder / "network.onnx")
    text = b"content of network.onnx"
    assert (entry.bytes, entry.sha256) == (len(text), hashlib.sha256(text).hexdigest())


@pytest.mark.parametrize(
    ("name", "same"),
    [("fusion.yaml", True), ("network.onnx", False), ("encoder.json", False), ("schema.json", False)],
)
def test_the_version_is_of_network_encoder_and_schema(folder, name, same):
    before = write_manifest(folder, **FIELDS).version
    (folder / name).write_text("other")
    assert (write_manifest(folder, **FIELDS).version == before) is same


def test_a_manifest_written_anew_does_not_list_itself(folder):
    assert write_manifest(folder, **FIELDS).files == write_manifest(folder, **FIELDS).files


@pytest.mark.parametrize("name", [MANIFEST, MANIFEST_SUM])
def test_one_changed_byte_is_damage(folder, name):
    write_manifest(folder, **FIELDS)
    content = bytearray((folder / name).read_bytes())
    content[3] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(FulcrumError, match=r"manifest\.json is damaged: it does not match manifest\.sha256"):
        read_manifest(folder)


def test_a_manifest_without_its_checksum_is_refused(folder):
    write_manifest(folder, **FIELDS)
    (folder / MANIFEST_SUM).unlink()
    with pytest.raises(FulcrumError, match=r"manifest\.sha256 is missing or unreadable"):
        read_manifest(folder)


def test_a_folder_without_a_manifest_says_what_makes_a_bundle(folder):
    with pytest.raises(FulcrumError, match=r"is not a bundle: .* `fulcrum train` makes one"):
        read_manifest(folder)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"{", "not JSON"),
        (b"[]", "expected format 1, found None"),
        (b'{"format": 2}', "expected format 1, found 2"),
        (b'{"format": 1}', "manifest.json: .*name"),
    ],
)
def test_a_manifest_of_something_else_is_refused_by_what_is_wrong(folder, text, says):
    forge(folder, text)
    with pytest.raises(FulcrumError, match=says) as error:
        read_manifest(folder)
    assert "\n" not in str(error.value)


def test_an_unknown_key_is_refused_by_its_name(folder):
    document = write_manifest(folder, **FIELDS).model_dump(mode="json")
    forge(folder, orjson.dumps(document | {"colour": "red"}))
    with pytest.raises(FulcrumError, match="colour"):
        read_manifest(folder)
