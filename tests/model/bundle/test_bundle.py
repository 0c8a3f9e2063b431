"""The bundle: verified whole or refused by file name, and named by what makes its predictions."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import zipfile

import numpy as np
import onnx
import onnx.external_data_helper
import orjson
import pytest

from model.bundle import Sample, load_bundle, write_manifest
from model.errors import FulcrumError

FILES = [
    "manifest.json",
    "manifest.sha256",
    "schema.json",
    "encoder.json",
    "network.onnx",
    "fusion.yaml",
    "sample.npz",
    "weights.npz",
]


@pytest.fixture
def bundle(trained, tmp_path):
    """A copy to be spoilt."""
    return shutil.copytree(trained.bundle, tmp_path / "bundle")


def rewrite(bundle, **changed):
    """A manifest that agrees with the folder's files as they are now."""
    old = orjson.loads((bundle / "manifest.json").read_bytes())
    fields = {name: value for name, value in old.items() if name not in {"format", "version", "files"}}
    return write_manifest(bundle, **{**fields, **changed})


def forge(bundle, **changed):
    """A manifest that says anything, with a checksum to match."""
    text = orjson.dumps({**orjson.loads((bundle / "manifest.json").read_bytes()), **changed})
    (bundle / "manifest.json").write_bytes(text)
    line = f"{hashlib.sha256(text).hexdigest()}  manifest.json\n"
    (bundle / "manifest.sha256").write_text(line)


def refused(bundle, match):
    with pytest.raises(FulcrumError, match=match) as error:
        load_bundle(bundle)
    assert "\n" not in str(error.value)


def test_a_bundle_holds_the_files_it_lists_and_nothing_else(trained):
    assert sorted(path.name for path in trained.bundle.iterdir()) == sorted(FILES)
    loaded = load_bundle(trained.bundle)
    assert sorted([*loaded.manifest.files, "manifest.json", "manifest.sha256"]) == sorted(FILES)
    assert loaded.task_names == ["vtr", "vcr", "shr"]
    assert loaded.version.startswith("sha256:")


@pytest.mark.parametrize("name", FILES)
def test_one_damaged_bit_anywhere_is_refused_by_file_name(bundle, name):
    path = bundle / name
    sound = path.read_bytes()
    chance = random.Random(name)
    for position in [0, len(sound) - 1, *(chance.randrange(len(sound)) for _ in range(12))]:
        damaged = bytearray(sound)
        damaged[position] ^= 1 << chance.randrange(8)
        path.write_bytes(damaged)
        refused(bundle, name)
    path.write_bytes(sound)
    load_bundle(bundle)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("length", ["shorter", "longer"])
def test_a_file_of_another_length_is_refused_by_name(bundle, name, length):
    sound = (bundle / name).read_bytes()
    (bundle / name).write_bytes(sound[:-1] if length == "shorter" else sound + b" ")
    refused(bundle, name)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(bundle, name):
    (bundle / name).unlink()
    refused(bundle, name)


def test_a_folder_that_is_no_bundle_says_what_makes_one(tmp_path):
    refused(tmp_path, "is not a bundle.*`fulcrum train` makes one")
    refused(tmp_path / "nowhere", "is not a bundle")


@pytest.mark.parametrize("name", ["network.onnx", "encoder.json", "schema.json", "fusion.yaml", "sample.npz"])
def test_a_manifest_that_leaves_a_file_out_is_refused(bundle, name):
    (bundle / name).unlink()
    rewrite(bundle)
    refused(bundle, f"the manifest does not list {name}")


def test_a_bundle_of_another_format_is_refused(bundle):
    forge(bundle, format=2)
    refused(bundle, "manifest.json: expected format 1, found 2")


def test_a_manifest_with_an_unknown_key_is_refused_by_key(bundle):
    forge(bundle, weights="elsewhere")
    refused(bundle, "manifest.json: weights: unknown key")


@pytest.mark.parametrize("name", ["../x", "sub/x", "/etc/hostname"])
def test_a_manifest_that_names_a_file_outside_its_folder_is_refused(bundle, name):
    (bundle.parent / "x").write_bytes(b"")
    files = orjson.loads((bundle / "manifest.json").read_bytes())["files"]
    entry = {"sha256": hashlib.sha256(b"").hexdigest(), "bytes": 0}
    forge(bundle, files={**files, name: entry})
    refused(bundle, "not a plain file name")


def test_a_manifest_with_a_foreign_version_is_refused(bundle):
    forge(bundle, version="sha256:" + "0" * 64)
    refused(bundle, "the version is not the hash of the files")


def test_the_version_is_of_network_encoder_and_schema_alone(bundle):
    version = load_bundle(bundle).version
    fusion = bundle / "fusion.yaml"
    fusion.write_bytes(fusion.read_bytes() + b"\n")
    sample = Sample.load(bundle / "sample.npz")
    Sample(sample.inputs, {task: values + 1 for task, values in sample.expected.items()}).save(
        bundle / "sample.npz"
    )
    rewrite(bundle, metrics={"vtr": {"auc": 0.5}}, created="2000-01-01T00:00:00", name="other")
    assert load_bundle(bundle).version == version


@pytest.mark.parametrize("name", ["network.onnx", "encoder.json", "schema.json"])
def test_another_network_encoder_or_schema_is_another_version(bundle, name):
    version = load_bundle(bundle).version
    (bundle / name).write_bytes((bundle / name).read_bytes() + b"\n")
    assert rewrite(bundle).version != version


def test_weights_beside_the_graph_are_part_of_the_version(bundle):
    version = load_bundle(bundle).version
    (bundle / "network.onnx.data").write_bytes(b"tables")
    assert rewrite(bundle).version != version


def test_the_encoder_must_be_the_one_that_the_manifest_names(bundle):
    rewrite(bundle, encoder_fingerprint="0" * 32)
    refused(bundle, "encoder.json: not the encoder that the manifest names")


def test_the_tasks_must_be_the_schemas(bundle):
    tasks = [{"name": "vtr", "type": "binary", "bounds": [0, 1]}]
    rewrite(bundle, tasks=tasks)
    refused(bundle, "manifest.json and schema.json name different tasks")


@pytest.mark.parametrize(
    ("name", "text"), [("schema.json", b"{}"), ("schema.json", b"no"), ("encoder.json", b"{}")]
)
def test_a_listed_file_that_is_not_what_it_should_be_is_refused(bundle, name, text):
    (bundle / name).write_bytes(text)
    rewrite(bundle)
    refused(bundle, name)


def _objects(path):
    arrays = dict(np.load(path))
    np.savez(path, **{**arrays, "user_ids": np.array([{"run": "this"}], object)}, allow_pickle=True)


def _pickle(path):
    np.array([{"run": "this"}], object).dump(path)


def _array(path):
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _incomplete(path):
    arrays = dict(np.load(path))
    del arrays["row_to_user"]
    np.savez(path, **arrays)


@pytest.mark.parametrize("harm", [_objects, _pickle, _array, _incomplete])
def test_a_sample_that_is_no_plain_archive_of_numbers_is_refused_unread(bundle, harm):
    harm(bundle / "sample.npz")
    rewrite(bundle)
    refused(bundle, "sample.npz: not a parity sample")


def test_a_sample_comes_back_as_it_was_saved(bundle):
    sample = load_bundle(bundle).sample
    sample.save(bundle / "again.npz")
    again = Sample.load(bundle / "again.npz")
    for name, array in sample.inputs.arrays().items():
        np.testing.assert_array_equal(again.inputs.arrays()[name], array)
        assert again.inputs.arrays()[name].dtype == array.dtype
    assert list(again.expected) == ["vtr", "vcr", "shr"]
    for task, values in sample.expected.items():
        np.testing.assert_array_equal(again.expected[task], values)


@pytest.mark.parametrize("name", FILES)
def test_a_pipe_in_place_of_a_file_is_refused_without_waiting(bundle, name):
    (bundle / name).unlink()
    os.mkfifo(bundle / name)
    refused(bundle, "regular file")


def test_a_sample_that_would_inflate_is_refused(bundle):
    with zipfile.ZipFile(bundle / "sample.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("user_ids.npy", b"\0" * (4 << 20))
    rewrite(bundle)
    refused(bundle, r"sample\.npz: not a parity sample \(\d+ bytes that inflate to 4194304")


def test_a_sample_that_claims_an_array_larger_than_itself_is_refused(bundle):
    content = (bundle / "sample.npz").read_bytes()
    assert b"'shape': (" in content
    with np.load(bundle / "sample.npz") as sample:
        arrays = dict(sample)
    with zipfile.ZipFile(bundle / "sample.npz", "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w") as file:
                shape = (1 << 50,) if name == "row_to_user" else array.shape
                descr = np.lib.format.dtype_to_descr(array.dtype)
                np.lib.format.write_array_header_1_0(
                    file, {"descr": descr, "fortran_order": False, "shape": shape}
                )
                file.write(array.tobytes())
    rewrite(bundle)
    refused(bundle, r"sample\.npz: not a parity sample")


@pytest.mark.parametrize("listed", [False, True])
def test_a_graph_that_takes_weights_from_another_file_is_refused(bundle, listed):
    """One that is not listed has no checksum, and one that is would not count in the version."""
    graph = onnx.load(bundle / "network.onnx")
    weights = next(tensor for tensor in graph.graph.initializer if len(tensor.raw_data) > 100)
    (bundle / "other.data").write_bytes(weights.raw_data)
    onnx.external_data_helper.set_external_data(weights, "other.data")
    weights.ClearField("raw_data")
    (bundle / "network.onnx").write_bytes(graph.SerializeToString())
    if not listed:
        (bundle / "other.data").rename(bundle.parent / "other.data")
    rewrite(bundle)
    refused(bundle, "network.onnx takes weights from 'other.data'; expected network.onnx.data")


@pytest.mark.parametrize("created", ["zzz", "", "9", "2026-13-01T00:00:00Z"])
def test_a_time_that_is_none_is_refused(bundle, created):
    forge(bundle, created=created)
    refused(bundle, "created: expected a time such as")
