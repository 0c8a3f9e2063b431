"""Rows as values of Redis: what is stored is read again, and what is no row is seen."""

from __future__ import annotations

import numpy as np
import pytest

from model.encoding import Column, Encoder
from model.schema import Schema
from model.store.packed import PackedLayout
from model.store.redis_rows import RedisTable, generation_key


@pytest.fixture(scope="module")
def encoder():
    schema = Schema.model_validate(
        {
            "name": "s",
            "data": {"user": "user", "item": "item", "time": "time", "split": {"last": 0.5}},
            "features": [
                {"name": "tab", "side": "context", "kind": "categorical"},
                {"name": "likes", "side": "item", "kind": "numeric"},
                {"name": "author", "side": "item", "kind": "id", "hash_buckets": 9},
            ],
            "tasks": [{"name": "vtr", "type": "binary", "label": "y"}],
        }
    )
    columns = {"tab": Column(["t"]), "likes": Column([1.0, 3.0]), "author": Column(["a"])}
    return Encoder.fit(schema, columns)


@pytest.fixture(scope="module")
def stored(encoder):
    """A table, keys, records and values of three items."""
    table = RedisTable(encoder, "items")
    columns = {"likes": Column([1.0, 2.0, None]), "author": Column(["a", "b", "c"])}
    rows = encoder.sides["item"].encode(columns, 3)
    records = PackedLayout.of(encoder, "items").pack(rows, np.array([1.5, np.nan, 3.0]))
    keys = [table.key(item) for item in ("v1", "v2", "ü:3")]
    return table, keys, records, table.values(keys, records)


def test_keys_name_encoder_side_and_id(encoder, stored):
    home = f"fulcrum:{encoder.fingerprint}"
    assert stored[1][0] == f"{home}:i:v1".encode()
    assert stored[1][2] == f"{home}:i:ü:3".encode()
    assert RedisTable(encoder, "users").key("u1") == f"{home}:u:u1".encode()
    assert generation_key(encoder) == f"{home}:generation".encode()


def sound(table: RedisTable, key: bytes, value: bytes | None) -> bool:
    return table.read([key], [value])[1].tolist() == [0]


def test_what_is_stored_is_read_again(stored):
    table, keys, records, values = stored
    found, places = table.read(keys, values)
    assert found[places].tobytes() == records.tobytes()
    assert {len(value) for value in values} == {9 + records.dtype.itemsize}


def test_rows_keep_their_places_among_those_that_are_none(stored):
    table, (one, two, three), records, values = stored
    asked = [three, two, one, two, one]
    found, places = table.read(asked, [values[2], None, values[1], values[1], values[0][:-1]])
    assert (places >= 0).tolist() == [True, False, False, True, False]
    assert found[places[places >= 0]].tobytes() == records[[2, 1]].tobytes()


def test_a_row_under_another_key_is_none(stored):
    table, keys, _, values = stored
    assert not sound(table, keys[1], values[0])


def test_no_change_of_a_byte_and_no_other_length_passes_for_a_row(stored):
    table, keys, _, values = stored
    for place in range(len(values[0])):
        broken = bytearray(values[0])
        broken[place] ^= 1
        assert not sound(table, keys[0], bytes(broken))
        assert not sound(table, keys[0], values[0][:place])
    assert not sound(table, keys[0], values[0] + b"\0")


@pytest.mark.parametrize("value", [None, b""])
def test_nothing_is_no_row(stored, value):
    assert not sound(stored[0], stored[1][0], value)


def test_rows_without_features_are_rows(encoder):
    """A schema without user features stores users all the same: that they are known counts."""
    table = RedisTable(encoder, "users")
    keys = table.keys(["u1", "\ud800"])
    assert keys[1] == table.key("\ud800")
    values = table.values(keys, np.zeros(2, PackedLayout.of(encoder, "users").dtype))
    records, places = table.read(keys, values)
    assert (len(records), places.tolist()) == (2, [0, 1])


def test_no_rows_are_no_records(stored):
    records, places = stored[0].read([], [])
    assert len(records) == len(places) == 0
