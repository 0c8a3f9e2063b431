"""Rows as a store gives them: one that the encoder cannot have made is a default, and only that one."""

from __future__ import annotations

import numpy as np
import pytest

from model.store.packed import PackedLayout, open_tables
from service.features.store import stored_rows


@pytest.fixture(scope="module")
def side(world):
    return world.load().encoder.sides["item"]


@pytest.fixture
def records(world):
    encoder = world.load().encoder
    records = open_tables(world.features, encoder)[1]["items"].records[:4].copy()
    assert records.dtype == PackedLayout.of(encoder, "items").dtype
    return records


def harm_id(value):
    def harm(record, side):
        record["ids"][1] = value(side)

    return harm


def harm_number(value):
    def harm(record, side):
        record["numeric"][0] = value

    return harm


def harm_length(value):
    def harm(record, side):
        record["video_len_s"] = value

    return harm


@pytest.mark.parametrize(
    "harm",
    [
        harm_id(lambda side: side.table_rows[1]),
        harm_id(lambda _: -1),
        harm_id(lambda _: np.iinfo(np.int64).max),
        harm_id(lambda _: np.iinfo(np.int64).min),
        harm_number(np.nan),
        harm_number(np.inf),
        harm_length(-1.0),
        harm_length(np.inf),
    ],
)
def test_a_row_that_the_encoder_cannot_have_made_is_a_default_and_the_others_stay(side, records, harm):
    before = stored_rows(side, records, np.array([0, 1, -1, 3]))
    assert not before.damaged
    harm(records[1], side)
    after = stored_rows(side, records, np.array([0, 1, -1, 3]))
    assert after.damaged
    assert after.found.tolist() == [True, False, False, True]
    np.testing.assert_array_equal(after.rows.ids[1], side.defaults.ids[0])
    np.testing.assert_array_equal(after.rows.numeric[1], side.defaults.numeric[0])
    assert np.isnan(after.video_len_s[1])
    for row in (0, 2, 3):
        np.testing.assert_array_equal(after.rows.ids[row], before.rows.ids[row])
        np.testing.assert_array_equal(after.rows.numeric[row], before.rows.numeric[row])


def test_the_largest_id_of_each_table_is_sound_and_a_damaged_row_that_nobody_asked_for_is_no_matter(
    side, records
):
    records[0]["ids"] = side.table_rows - 1
    records[3]["ids"] = side.table_rows
    found = stored_rows(side, records, np.array([0, -1]))
    assert (found.found.tolist(), found.damaged) == ([True, False], False)
