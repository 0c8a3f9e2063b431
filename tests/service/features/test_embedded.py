"""The embedded store: published rows by id, defaults for the rest."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading

import numpy as np
import pytest

from model.errors import FulcrumError
from model.store.arrays import StoreDamagedError
from model.store.packed import PackedLayout, open_tables, update_store
from service.features.embedded import EmbeddedStore


@pytest.fixture(scope="module")
def encoder(world):
    return world.load().encoder


@pytest.fixture
def store(world, encoder):
    return EmbeddedStore(world.features, encoder)


def items(store, ids):
    return asyncio.run(store.look_up("u1", ids)).items


def test_known_ids_give_their_rows_in_the_order_asked_for(store):
    one, other = (items(store, ids) for ids in (["v5", "v9"], ["v9", "v5"]))
    assert one.found.all()
    assert np.array_equal(one.rows.ids, other.rows.ids[::-1])
    assert np.array_equal(one.rows.numeric, other.rows.numeric[::-1])
    assert np.array_equal(one.video_len_s, other.video_len_s[::-1])
    assert (one.rows.ids.dtype, one.rows.numeric.dtype) == (np.int64, np.float32)


def test_unknown_ids_give_defaults(store, encoder):
    found = items(store, ["v5", "nobody", ""])
    defaults = encoder.sides["item"].defaults
    assert found.found.tolist() == [True, False, False]
    assert np.array_equal(found.rows.ids[1:], np.repeat(defaults.ids, 2, axis=0))
    assert np.array_equal(found.rows.numeric[1:], np.repeat(defaults.numeric, 2, axis=0))
    assert np.isnan(found.video_len_s[1:]).all()


def test_an_unknown_length_is_nan(store):
    assert np.isnan(items(store, ["v49"]).video_len_s).all()


def test_users_are_not_items(store):
    assert items(store, ["u3", "v3"]).found.tolist() == [False, True]
    assert asyncio.run(store.look_up("u3", [])).user.found.tolist() == [True]
    assert asyncio.run(store.look_up("v3", [])).user.found.tolist() == [False]


def test_rows_are_the_callers_own(store):
    first = items(store, ["v5"])
    first.rows.ids[:] = -1
    first.video_len_s[:] = -1
    again = items(store, ["v5"])
    assert (again.rows.ids >= 0).all()
    assert again.video_len_s[0] > 0


@pytest.fixture
def growing(world, encoder, tmp_path):
    """A store of its own, and `add(name)`: publishes v5's row under that name."""
    root = shutil.copytree(world.features, tmp_path / "store")
    row = open_tables(root, encoder)[1]["items"].records[:1].copy()

    def add(name: str) -> None:
        nobody = np.zeros(0, PackedLayout.of(encoder, "users").dtype)
        update_store(root, encoder, [("users", [], nobody), ("items", [name], row)])

    return EmbeddedStore(root, encoder), add


def test_what_is_published_while_serving_is_found_within_a_second(growing):
    store, add = growing

    async def ask():
        before = store.generation
        for number in range(5):
            add(f"new{number}")
            await asyncio.sleep(0.25)  # longer than the time between two looks
            found = await store.look_up("u1", ["v5", f"new{number}", "never"])
            assert found.items.found.tolist() == [True, True, False]
        return before, store.generation

    before, after = asyncio.run(ask())
    assert before != after


def test_a_damaged_generation_leaves_the_one_before_in_service(growing, tmp_path):
    store, add = growing

    async def ask():
        add("new")
        for file in (tmp_path / "store").rglob("items.rows.npy"):
            file.replace(file.with_suffix(".kept"))
            file.write_bytes(b"no array")
        await asyncio.sleep(0.25)
        found = await store.look_up("u1", ["v5", "new"])
        assert found.items.found.tolist() == [True, False]
        add("newer")
        await asyncio.sleep(0.25)
        return await store.look_up("u1", ["newer"])

    assert asyncio.run(ask()).items.found.tolist() == [True]


def rows_file(root, name="items.rows.npy"):
    """Of the current generation."""
    current = next(root.glob("*/CURRENT"))
    return current.with_name(current.read_text()) / name


def look_up(store, *, after_s=0.3):
    async def ask():
        await asyncio.sleep(after_s)  # longer than the time between two looks
        return await store.look_up("u1", ["v5", "v700"])

    return asyncio.run(ask())


@pytest.fixture
def root(world, tmp_path):
    return shutil.copytree(world.features, tmp_path / "store")


@pytest.mark.parametrize("name", ["items.rows.npy", "items.hashes.npy", "users.index.npy"])
def test_a_file_truncated_in_place_is_never_read_and_answers_are_defaults_that_say_so(root, encoder, name):
    store = EmbeddedStore(root, encoder)
    path = rows_file(root, name)
    content = path.read_bytes()
    os.truncate(path, 0)  # to read its map from now on would end this process
    for after_s in (0.0, 0.3):
        found = look_up(store, after_s=after_s)
        assert found.failures == ["feature_store_corrupt"]
        assert not found.user.found.any()
        assert not found.items.found.any()
    assert (store.generation, store.seek()) == (None, None)
    path.write_bytes(content)
    again = look_up(store)
    assert (again.failures, again.items.found.tolist()) == ([], [True, True])


def test_a_file_written_over_in_place_is_not_read_until_it_is_sound_again(root, encoder):
    store = EmbeddedStore(root, encoder)
    path = rows_file(root)
    content = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(-200, os.SEEK_END)
        file.write(b"\x01" * 100)
    assert look_up(store).failures == ["feature_store_corrupt"]
    with path.open("r+b") as file:
        file.write(content)
    assert look_up(store).items.found.all()


def test_a_service_may_begin_on_a_damaged_store_and_takes_the_next_generation(root, encoder):
    os.truncate(rows_file(root), 100)
    with pytest.raises(StoreDamagedError):
        EmbeddedStore(root, encoder)
    store = EmbeddedStore(root, encoder, await_rows=True)
    assert look_up(store, after_s=0.0).failures == ["feature_store_corrupt"]
    nobody = np.zeros(0, PackedLayout.of(encoder, "users").dtype)
    row = np.zeros(1, PackedLayout.of(encoder, "items").dtype)
    update_store(root, encoder, [("users", [], nobody), ("items", ["v5"], row)])
    found = look_up(store)
    assert (found.failures, found.items.found.tolist()) == ([], [True, False])


def pointer_to_a_pipe(path):
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(b"\xff\xfe2026"),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"../../elsewhere"),
        lambda path: path.write_bytes(b"x" * 5000),
        pointer_to_a_pipe,
    ],
)
def test_a_pointer_that_names_no_generation_leaves_the_rows_in_use_and_stops_no_start(root, encoder, harm):
    store = EmbeddedStore(root, encoder)
    harm(next(root.glob("*/CURRENT")))
    assert look_up(store).items.found.all()
    with pytest.raises(StoreDamagedError, match="CURRENT"):
        EmbeddedStore(root, encoder)
    found = look_up(EmbeddedStore(root, encoder, await_rows=True), after_s=0.0)
    assert (found.failures, found.items.found.tolist()) == (["feature_store_corrupt"], [False, False])


def test_a_failure_to_open_that_passes_is_not_remembered(root, encoder, monkeypatch):
    def busy(*_):
        raise StoreDamagedError("too many open files")

    with monkeypatch.context() as patched:
        patched.setattr("service.features.embedded.open_tables", busy)
        store = EmbeddedStore(root, encoder, await_rows=True)
    monkeypatch.setattr(store, "_again_at", 0.0)
    assert look_up(store).items.found.all()


def test_the_event_loop_reads_no_file_of_the_store(root, encoder, monkeypatch):
    store = EmbeddedStore(root, encoder)
    readers = []
    look = store._look
    monkeypatch.setattr(store, "_look", lambda: (readers.append(threading.get_ident()), look()))
    look_up(store)
    assert readers
    assert threading.get_ident() not in readers


def test_a_store_of_another_encoder_is_refused(tmp_path, encoder):
    with pytest.raises(FulcrumError, match="fulcrum publish"):
        EmbeddedStore(tmp_path, encoder)


def test_a_damaged_store_is_refused(tmp_path, world, encoder):
    shutil.copytree(world.features, tmp_path / "store")
    rows = next((tmp_path / "store").rglob("items.rows.npy"))
    rows.write_bytes(rows.read_bytes()[:-100])
    with pytest.raises(FulcrumError, match=r"items\.rows\.npy is damaged: its size"):
        EmbeddedStore(tmp_path / "store", encoder)
