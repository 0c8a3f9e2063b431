"""Rows as values of Redis: what is stored is read again, and what is no row is seen."""

from __future__ import annotations

import numpy as np
import pytest

from model.encoding import Column, Encoder
from model.packed import PackedLayout
from model.redis_rows import RedisTable, generation_key
from model.schema import Schema


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


def test_what_is_stored_is_read_again(stored):
    table, keys, records, values = stored
    rows = [table.row(key, value) for key, value in zip(keys, values, strict=True)]
    assert table.records(rows).tobytes() == records.tobytes()
    assert {len(value) for value in values} == {9 + records.dtype.itemsize}


def test_a_row_under_another_key_is_none(stored):
    table, keys, _, values = stored
    assert table.row(keys[1], values[0]) is None


def test_no_change_of_a_byte_and_no_other_length_passes_for_a_row(stored):
    table, keys, _, values = stored
    for place in range(len(values[0])):
        broken = bytearray(values[0])
        broken[place] ^= 1
        assert table.row(keys[0], bytes(broken)) is None
        assert table.row(keys[0], values[0][:place]) is None
    assert table.row(keys[0], values[0] + b"\0") is None


@pytest.mark.parametrize("value", [None, 7, "text", [b"list"], b""])
def test_what_is_no_bytes_is_no_row(stored, value):
    assert stored[0].row(stored[1][0], value) is None


def test_rows_without_features_are_rows(encoder):
    """A schema without user features stores users all the same: that they are known counts."""
    table = RedisTable(encoder, "users")
    key = table.key("u1")
    [value] = table.values([key], np.zeros(1, PackedLayout.of(encoder, "users").dtype))
    row = table.row(key, value)
    assert row == b""
    assert len(table.records([row])) == 1


def test_no_rows_are_no_records(stored):
    assert len(stored[0].records([])) == 0
