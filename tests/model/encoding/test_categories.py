"""Lists of categories: which values are kept, in which order, and by which vocabulary."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.encoding.categories import (
    FIRST_KNOWN,
    MISSING,
    UNKNOWN,
    CategoricalEncoder,
    ListEncoder,
    as_lists,
    canonical,
)
from model.encoding.columns import Column, ListColumn
from model.schema.features import CategoricalFeature, MultiFeature, SequenceFeature

ELEMENTS = st.one_of(st.none(), st.sampled_from(["a", "b", "c", "late", ""]), st.integers(0, 2))
LISTS = st.one_of(st.none(), st.lists(ELEMENTS, max_size=6))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("3", "3"),
        ("3.00", "3"),
        ("-0.0", "0"),
        ("1E+2", "100"),
        ("9007199254740993", "9007199254740993"),
        ("3.10", "3.1"),
        ("-2.5", "-2.5"),
        ("0.00000010", "1e-07"),
        ("0.12345678901234567890", "0.1234567890123456789"),
        ("9007199254740993.50", "9007199254740993.5"),
        ("NaN", None),
        ("Infinity", None),
    ],
)
def test_a_decimal_is_the_number_that_it_writes(value, expected):
    """Spelt as the float of the same value, where there is one, and else in all its digits."""
    assert canonical(Decimal(value)) == expected


def test_what_is_no_scalar_costs_no_other_value_its_row():
    spec = CategoricalFeature(name="f", side="item", kind="id")
    encoder = CategoricalEncoder.fit(spec, Column([["no"], None, "a", {}, 7, ""]))
    assert encoder.vocabulary.known == ["7", "a"]
    found = encoder.encode(Column([[1], "a", None, {}, 7, "new", ""]))
    assert found.tolist() == [UNKNOWN, 3, MISSING, UNKNOWN, 2, UNKNOWN, MISSING]


def multi(values, **declared):
    return ListEncoder.fit(
        MultiFeature.model_validate(
            {"name": "f", "side": "item", "kind": "multi", "max_values": 3, **declared}
        ),
        Column(values),
    )


def sequence(values, **declared):
    return ListEncoder.fit(
        SequenceFeature.model_validate(
            {"name": "f", "side": "user", "kind": "sequence", "max_values": 3, **declared}
        ),
        Column(values),
    )


def words(encoder, codes):
    names = {MISSING: None, UNKNOWN: "?"}
    return [names.get(code) or encoder.vocabulary.known[code - FIRST_KNOWN] for code in codes if code]


@given(st.lists(LISTS, min_size=1, max_size=5), st.lists(LISTS, min_size=1, max_size=5), st.booleans())
def test_a_list_keeps_its_values_in_order_and_leaves_missing_ones_out(training, values, in_order):
    encoder = (sequence if in_order else multi)(training)
    encoded = encoder.encode(Column(values))
    assert encoded.shape == (len(values), 3)
    for row, value in zip(encoded, values, strict=True):
        present = [key for key in map(canonical, value or []) if key is not None]
        kept = present[-3:][::-1] if in_order else present[:3]
        known = set(encoder.vocabulary.known)
        assert words(encoder, row) == [key if key in known else "?" for key in kept]
        assert row.tolist() == [*row[row > 0], *[0] * (3 - len(kept))]


@given(st.lists(LISTS, min_size=1, max_size=6), st.data())
def test_lists_that_share_their_elements_are_encoded_as_lists_of_their_own(values, data):
    elements = [element for value in values for element in value or []]
    rows = []
    for _ in range(4):
        first = data.draw(st.integers(0, len(elements)))
        rows.append((first, data.draw(st.integers(first, len(elements)))))
    first, stop = np.array(rows).T
    windows = ListColumn(Column(elements), first, stop)
    own = Column([elements[low:high] for low, high in rows])
    marked = np.array([True, False, True, True])
    spec = SequenceFeature(name="f", side="user", kind="sequence", max_values=3)
    one, other = ListEncoder.fit(spec, windows.take(marked)), ListEncoder.fit(spec, own.take(marked))
    assert one.vocabulary.known == other.vocabulary.known
    assert one.encode(windows).tolist() == one.encode(own).tolist()
    assert windows.value(2) == own.value(2)


def test_a_state_names_what_the_codes_of_lists_depend_on():
    encoder = multi([["a"]], separator=",")
    assert encoder.state() == {"vocabulary": ["a"], "max_values": 3, "separator": ","}
    shared = ListEncoder(
        SequenceFeature(name="f", side="user", kind="sequence", max_values=2, shares="g"), encoder.vocabulary
    )
    assert shared.state() == {"shares": "g", "max_values": 2, "separator": None}


@pytest.mark.parametrize("in_order", [False, True])
def test_many_lists_are_encoded_as_few_are(monkeypatch, in_order):
    lists = [["a", "b", "c", "d"][: place % 5] for place in range(23)]
    encoder = (sequence if in_order else multi)(lists)
    at_once = encoder.encode(Column(lists))
    monkeypatch.setattr("model.encoding.categories._ROWS_AT_ONCE", 5)
    assert encoder.encode(Column(lists)).tolist() == at_once.tolist()


def test_the_vocabulary_counts_each_element_of_a_list():
    encoder = multi([["a", "b", "b"], ["b", None], None, ["c"]], min_count=2)
    assert encoder.vocabulary.known == ["b"]
    distinct = ["b", "a"]
    coded = ListColumn(Column(distinct, np.array([1, 0, 0])), np.array([0, 1, 1]), np.array([1, 3, 3]))
    assert ListEncoder.fit(
        MultiFeature(name="f", side="item", kind="multi", min_count=4), coded
    ).vocabulary.known == ["b"]


@pytest.mark.parametrize(
    ("value", "separator", "expected"),
    [
        ("a, b,,c ", ",", ["a", "b", "", "c"]),
        ("a, b", None, ["a, b"]),
        (["a,b"], ",", ["a,b"]),
        (("a", None), ",", ["a", None]),
        (np.array([1, 2]), None, [1, 2]),
        (np.array(7), None, [7]),
        (None, ",", []),
        (7, ",", [7]),
        ("", ",", [""]),
    ],
)
def test_a_raw_value_is_a_list_or_text_that_parts_into_one(value, separator, expected):
    lists = as_lists(Column([["x"], value], np.array([1, 0, 1])), separator)
    assert [lists.value(row) for row in range(3)] == [expected, ["x"], expected]


def test_what_has_no_row_of_its_own_shares_a_bucket_by_its_hash():
    spec = CategoricalFeature(name="f", side="item", kind="id", min_count=2, hash_buckets=5)
    encoder = CategoricalEncoder.fit(spec, Column(["a", "a", "b", "b", "c", None]))
    assert encoder.vocabulary.cardinality == FIRST_KNOWN + 2 + 5
    a, b, c, gone, strange = encoder.encode(Column(["a", "b", "c", None, ["a"]])).tolist()
    assert (a, b, gone, strange) == (2, 3, MISSING, UNKNOWN)
    assert 4 <= c < 9
    others = encoder.encode(Column([f"v{number}" for number in range(500)]))
    assert set(others.tolist()) == set(range(4, 9))
    again = CategoricalEncoder(spec, type(encoder.vocabulary).from_state(encoder.state()))
    assert again.encode(Column(["a", "c"])).tolist() == [a, c]


def test_hashing_alone_has_no_vocabulary():
    spec = CategoricalFeature(name="f", side="item", kind="id", hash_buckets=5)
    assert CategoricalEncoder.fit(spec, Column(["a", "b"])).vocabulary.known is None
