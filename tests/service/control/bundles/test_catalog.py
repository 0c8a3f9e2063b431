"""The models folder as it changes under our eyes."""

from __future__ import annotations

import os
import shutil

import pytest

from model.errors import FulcrumError
from service.control.bundles.catalog import Catalog
from tests.support.bundle_variants import write_variant


def names(catalog: Catalog) -> list[str]:
    return [model.path.name for model in catalog.models]


@pytest.fixture
def folder(world, tmp_path):
    write_variant(world.bundle, tmp_path / "old", 1, "2026-02-01T00:00:00Z")
    write_variant(world.bundle, tmp_path / "new", 2, "2026-03-01T00:00:00Z")
    return tmp_path


def test_bundles_come_newest_first_by_what_they_say(folder):
    os.utime(folder / "old")
    (folder / "notes").mkdir()
    (folder / "state.json").write_text("{}")
    shutil.copytree(folder / "new", folder / ".hidden")
    assert names(Catalog(folder)) == ["new", "old"]


def test_a_bundle_counts_once_it_has_come_to_rest(world, folder):
    catalog = Catalog(folder)
    write_variant(world.bundle, folder / "newest", 3, "2026-04-01T00:00:00Z")
    catalog.scan()
    assert names(catalog) == ["new", "old"]
    (folder / "newest" / "network.onnx").touch()
    catalog.scan()
    assert names(catalog) == ["new", "old"]
    catalog.scan()
    assert names(catalog) == ["newest", "new", "old"]


def test_a_bundle_that_goes_is_forgotten(folder):
    catalog = Catalog(folder)
    shutil.rmtree(folder / "new")
    catalog.scan()
    assert names(catalog) == ["new", "old"]
    catalog.scan()
    assert names(catalog) == ["old"]


def test_a_manifest_that_cannot_be_read_is_a_problem_of_its_folder(folder):
    (folder / "new" / "manifest.json").write_text("{")
    catalog = Catalog(folder)
    assert names(catalog) == ["old", "new"]
    assert catalog.models[1].manifest is None
    assert "manifest.json is damaged" in (catalog.models[1].problem or "")


def test_any_written_file_changes_the_signature(folder):
    catalog = Catalog(folder)
    before = catalog.models[0].signature
    network = folder / "new" / "network.onnx"
    network.write_bytes(network.read_bytes())
    catalog.scan()
    catalog.scan()
    assert catalog.models[0].signature != before


def test_a_folder_that_is_away_for_a_while_changes_nothing(folder):
    catalog = Catalog(folder)
    folder.rename(folder.with_name("away"))
    for _ in range(3):
        catalog.scan()
    assert names(catalog) == ["new", "old"]
    folder.with_name("away").rename(folder)
    catalog.scan()
    assert names(catalog) == ["new", "old"]


def test_no_folder_is_an_error(tmp_path):
    with pytest.raises(FulcrumError, match="cannot be read"):
        Catalog(tmp_path / "absent")


def test_a_bundle_that_says_it_is_from_the_future_is_as_old_as_its_manifest(world, folder):
    write_variant(world.bundle, folder / "ahead", 3, "9999-12-31T00:00:00Z")
    os.utime(folder / "ahead" / "manifest.json", (1.75e9, 1.75e9))  # June 2025
    assert names(Catalog(folder)) == ["new", "old", "ahead"]


def test_times_are_compared_as_times(world, folder):
    write_variant(world.bundle, folder / "east", 3, "2026-03-01T01:00:00+09:00")
    write_variant(world.bundle, folder / "west", 4, "2026-03-01T01:00:00-09:00")
    assert names(Catalog(folder)) == ["west", "new", "east", "old"]


def test_a_link_that_leads_nowhere_hides_no_bundle(folder):
    (folder / "new" / "dangling").symlink_to("nowhere")
    (folder / "circle").symlink_to(folder / "circle")
    assert names(Catalog(folder)) == ["new", "old"]


def test_a_pipe_as_a_manifest_is_a_problem_of_its_folder(folder):
    (folder / "new" / "manifest.json").unlink()
    os.mkfifo(folder / "new" / "manifest.json")
    catalog = Catalog(folder)
    assert names(catalog) == ["old", "new"]
    assert "it is not a regular file" in (catalog.models[1].problem or "")
