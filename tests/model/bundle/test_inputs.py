"""Inputs: arrays by the graph's names, and parts of the candidates."""

from __future__ import annotations

import numpy as np
import pytest

from model.bundle.inputs import INPUTS, NetworkInputs
from model.encoding import EncodedRows


@pytest.fixture
def inputs():
    """Two users and five candidates, ids in the fewer bytes that training keeps them in."""
    user = EncodedRows(np.array([[1], [2]], np.int32), np.zeros((2, 0), np.float32))
    item = EncodedRows(np.arange(5, dtype=np.int32)[:, None], np.arange(5, dtype=np.float32)[:, None])
    return NetworkInputs(user, item, np.array([0, 0, 1, 1, 0]))


def test_arrays_have_the_graphs_names_and_types(inputs):
    arrays = inputs.arrays()
    assert tuple(arrays) == INPUTS
    assert [array.dtype for array in arrays.values()] == [
        np.int64,
        np.float32,
        np.int64,
        np.float32,
        np.int64,
    ]
    assert arrays["item_ids"].ravel().tolist() == [0, 1, 2, 3, 4]


def test_a_part_has_its_candidates_and_all_users(inputs):
    part = inputs.rows(1, 4)
    assert part.item.ids.ravel().tolist() == part.item.numeric.ravel().tolist() == [1, 2, 3]
    assert part.row_to_user.tolist() == [0, 1, 1]
    assert part.user is inputs.user


def test_no_candidates_are_a_part_too(inputs):
    assert [len(array) for array in inputs.rows(5, 5).arrays().values()] == [2, 2, 0, 0, 0]
