"""Shared weights: the plain network's predictions from one file that workers map, or plainly."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from model.bundle import NETWORK, NETWORK_DATA, load_bundle
from model.bundle.session import NetworkSession
from service.inference.engine import Engine, EngineOptions
from service.inference.shared_weights import SharedWeights
from tests.support.bundle_variants import write_variant
from tests.support.service_process import serving


@pytest.fixture(scope="module")
def bundle(world):
    return world.load()


@pytest.fixture
def shared(tmp_path) -> SharedWeights:
    return SharedWeights(tmp_path)


def checksum(bundle) -> str:
    return bundle.manifest.files[NETWORK].sha256


def assert_same(found, expected) -> None:
    for task, values in expected.items():
        np.testing.assert_array_equal(found[task], values)


def mapped(pid: int | str) -> set[str]:
    """Device and inode of each file of weights that this process has mapped."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return set(re.findall(r" (\S+ \d+) +\S*/weights/\w+/network\.data", maps))


def test_a_shared_network_gives_the_plain_ones_predictions_to_the_last_digit(bundle, shared):
    session = shared.session(bundle.network_path, checksum(bundle))
    assert mapped("self")
    plain = NetworkSession(bundle.network_path)
    for rows in (1, 7, 40):
        inputs = bundle.sample.inputs.rows(0, rows)
        assert_same(session.predict(inputs), plain.predict(inputs))


@pytest.mark.slow
def test_all_workers_map_one_file(world, tmp_path):
    with serving(tmp_path / "log", bundle=world.bundle, features=world.features, workers=3) as service:
        maps = [mapped(pid) for pid in service.workers()]
        assert not service.events("weights_not_shared")
    assert maps[0]
    assert maps[1:] == [maps[0]] * 2


def test_a_network_is_written_once_and_goes_with_the_next_while_its_users_go_on(
    world, bundle, shared, tmp_path
):
    write_variant(world.bundle, tmp_path / "other", 5)
    other = load_bundle(tmp_path / "other")
    first = shared.session(bundle.network_path, checksum(bundle))
    (file,) = tmp_path.glob("weights/*/network.data")
    written = file.stat()
    again = shared.session(bundle.network_path, checksum(bundle))
    assert file.stat() == written
    second = shared.session(other.network_path, checksum(other))
    assert not file.exists()
    expected = NetworkSession(bundle.network_path).predict(bundle.sample.inputs)
    for session in (first, again):
        assert_same(session.predict(bundle.sample.inputs), expected)
    assert_same(second.predict(bundle.sample.inputs), other.sample.expected)


def test_what_a_killed_writer_left_is_cleared_away(bundle, shared, tmp_path):
    left = tmp_path / "weights" / f".{checksum(bundle)[:32]}.unfinished"
    left.mkdir(parents=True)
    (left / "network.data").write_bytes(b"half")
    assert shared.session(bundle.network_path, checksum(bundle))
    assert not left.exists()


@pytest.mark.parametrize("damage", ["zeros", "short", "no network"])
def test_damaged_weights_are_told_of_and_the_plain_network_serves(bundle, shared, tmp_path, damage):
    shared.session(bundle.network_path, checksum(bundle))
    (data,) = tmp_path.glob("weights/*/network.data")
    if damage == "zeros":
        data.write_bytes(bytes(data.stat().st_size))
    elif damage == "short":
        data.write_bytes(data.read_bytes()[:100])
    else:
        data.with_name("network.onnx").write_bytes(b"?")
    with capture_logs() as logs:
        engine = Engine.load(bundle, EngineOptions(shared=shared))
    assert [entry["event"] for entry in logs] == ["weights_not_shared"]
    assert_same(engine.predict(bundle.sample.inputs), bundle.sample.expected)


def test_without_a_place_to_write_the_plain_network_serves(bundle, shared, tmp_path):
    (tmp_path / "weights").write_text("in the way")
    with capture_logs() as logs:
        engine = Engine.load(bundle, EngineOptions(shared=shared))
    assert [entry["event"] for entry in logs] == ["weights_not_shared"]
    assert_same(engine.predict(bundle.sample.inputs), bundle.sample.expected)


def test_large_tables_which_are_mapped_as_they_are_are_not_copied(bundle, shared, tmp_path):
    files = bundle.manifest.files
    manifest = bundle.manifest.model_copy(update={"files": {**files, NETWORK_DATA: files[NETWORK]}})
    Engine.load(dataclasses.replace(bundle, manifest=manifest), EngineOptions(shared=shared))
    assert not (tmp_path / "weights").exists()
