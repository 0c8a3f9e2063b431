"""The embedded store: published rows by id, defaults for the rest."""

from __future__ import annotations

import asyncio
import shutil

import numpy as np
import pytest

from model.errors import FulcrumError
from service.features.embedded import EmbeddedStore


@pytest.fixture(scope="module")
def encoder(world):
    return world.load().encoder


@pytest.fixture
def store(world, encoder):
    return EmbeddedStore(world.features, encoder)


def test_known_ids_give_their_rows_in_the_order_asked_for(store):
    one, other = (asyncio.run(store.items(ids)) for ids in (["v5", "v9"], ["v9", "v5"]))
    assert one.found.all()
    assert np.array_equal(one.rows.ids, other.rows.ids[::-1])
    assert np.array_equal(one.rows.numeric, other.rows.numeric[::-1])
    assert np.array_equal(one.video_len_s, other.video_len_s[::-1])
    assert (one.rows.ids.dtype, one.rows.numeric.dtype) == (np.int64, np.float32)


def test_unknown_ids_give_defaults(store, encoder):
    found = asyncio.run(store.items(["v5", "nobody", ""]))
    defaults = encoder.sides["item"].defaults
    assert found.found.tolist() == [True, False, False]
    assert np.array_equal(found.rows.ids[1:], np.repeat(defaults.ids, 2, axis=0))
    assert np.array_equal(found.rows.numeric[1:], np.repeat(defaults.numeric, 2, axis=0))
    assert np.isnan(found.video_len_s[1:]).all()


def test_an_unknown_length_is_nan(store):
    assert np.isnan(asyncio.run(store.items(["v49"])).video_len_s).all()


def test_users_are_not_items(store):
    assert asyncio.run(store.users(["u3", "v3"])).found.tolist() == [True, False]


def test_rows_are_the_callers_own(store):
    first = asyncio.run(store.items(["v5"]))
    first.rows.ids[:] = -1
    first.video_len_s[:] = -1
    again = asyncio.run(store.items(["v5"]))
    assert (again.rows.ids >= 0).all()
    assert again.video_len_s[0] > 0


def test_a_store_of_another_encoder_is_refused(tmp_path, encoder):
    with pytest.raises(FulcrumError, match="fulcrum publish"):
        EmbeddedStore(tmp_path, encoder)


def test_a_damaged_store_is_refused(tmp_path, world, encoder):
    shutil.copytree(world.features, tmp_path / "store")
    rows = next((tmp_path / "store").rglob("items.rows.npy"))
    rows.write_bytes(rows.read_bytes()[:-100])
    with pytest.raises(FulcrumError, match=r"items\.rows\.npy is missing or damaged"):
        EmbeddedStore(tmp_path / "store", encoder)
