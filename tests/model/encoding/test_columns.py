"""Raw columns: the same rows, whether each has its value or shares it by a code."""

from __future__ import annotations

import numpy as np
import pytest

from model.encoding import Column, ListColumn

VALUES = ["b", "a", "b", "c"]
CODES = np.array([1, 0, 1, 2])
FORMS = {
    "list": Column(VALUES),
    "array": Column(np.array(VALUES)),
    "coded list": Column(["a", "b", "c", "none"], CODES),
    "coded array": Column(np.array(["a", "b", "c", "none"]), CODES),
}


def rows_of(column):
    return [column.value(row) for row in range(len(column))]


@pytest.mark.parametrize("form", FORMS)
def test_a_row_has_its_value_in_every_form(form):
    assert rows_of(FORMS[form]) == VALUES


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "rows",
    [np.array([True, False, False, True]), np.array([3, 0, 0]), slice(1, 3), slice(None, None, -1)],
    ids=["marked", "numbered", "neighbours", "backwards"],
)
def test_taken_rows_are_those_of_an_array(form, rows):
    assert rows_of(FORMS[form].take(rows)) == np.array(VALUES)[rows].tolist()


def test_each_distinct_value_is_counted_and_spread_over_its_rows():
    for form in ("coded list", "coded array"):
        assert FORMS[form].counts().tolist() == [1, 2, 1, 0]
        assert FORMS[form].take(slice(0, 1)).counts().tolist() == [0, 1, 0, 0]
        assert FORMS[form].spread(np.array([10, 20, 30, 40])).tolist() == [20, 10, 20, 30]
    assert FORMS["list"].counts().tolist() == [1, 1, 1, 1]
    assert FORMS["list"].spread(CODES) is CODES


def test_lists_may_share_elements_and_each_counts_in_every_list_that_has_it():
    column = ListColumn(FORMS["coded list"], np.array([0, 1, 2, 4]), np.array([3, 3, 2, 4]))
    assert rows_of(column) == [["b", "a", "b"], ["a", "b"], [], []]
    assert column.element_counts().tolist() == [1, 2, 2, 0]
    assert rows_of(column.take(np.array([1, 2]))) == [["a", "b"], []]
    assert column.take(np.array([1, 2])).element_counts().tolist() == [0, 1, 1, 0]
