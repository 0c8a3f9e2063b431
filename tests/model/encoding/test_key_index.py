"""The key index against a dict, and the collisions that it refuses to build on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.encoding import key_index
from model.encoding.key_index import KeyIndex, hash_key, hash_keys
from model.errors import FulcrumError

keys = st.text(st.characters(exclude_categories=[]), max_size=8)


@given(st.lists(keys, unique=True, max_size=40), st.lists(keys, max_size=20))
def test_find_answers_as_a_dict_would(known, asked):
    asked = [*asked, *known]
    rows = {key: row for row, key in enumerate(known)}
    found = KeyIndex.build(known).find(asked)
    assert found.dtype == np.int64
    assert found.tolist() == [rows.get(key, -1) for key in asked]


def test_an_empty_index_knows_no_key():
    index = KeyIndex.build([])
    assert len(index) == 0
    assert index.find(["a", ""]).tolist() == [-1, -1]
    assert index.find([]).tolist() == []


def test_lone_surrogates_are_keys_of_their_own():
    index = KeyIndex.build(["\ud800", "\udfff", "?", "�"])
    assert index.find(["\udfff", "\ud800", "\ud801", "�"]).tolist() == [1, 0, -1, 3]


def test_a_key_that_stands_twice_is_refused():
    with pytest.raises(FulcrumError, match="'b' and 'b' are the same"):
        KeyIndex.build(["a", "b", "c", "b"])


def test_two_keys_of_one_hash_are_refused(monkeypatch):
    monkeypatch.setattr(
        key_index, "hash_keys", lambda keys: hash_keys(["same" if key in {"x", "y"} else key for key in keys])
    )
    with pytest.raises(FulcrumError, match="'x' and 'y' are the same or share a hash"):
        KeyIndex.build(["x", "other", "y"])


def test_hashes_are_those_of_every_release():
    # Stores and hashed features outlive the process: these numbers must never change.
    assert hash_key("") == 0x2D06800538D394C2
    assert hash_keys(["a", "a", "é"]).dtype == np.uint64
    assert hash_keys(["a", "\ud800"]).tolist() == [hash_key("a"), hash_key("\ud800")]
    assert hash_keys(["a", "b"]).tolist() == [hash_key("a"), hash_key("b")]
