"""The encoder: the table of its module, value by value, and what holds for any value."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.encoding import (
    CLIP,
    FIRST_KNOWN,
    MISSING,
    UNKNOWN,
    CategoricalEncoder,
    Column,
    Encoder,
    ListColumn,
    NumericEncoder,
    canonical,
)
from model.errors import FulcrumError
from model.schema import CategoricalFeature, NumericFeature, Schema
from model.schema.transforms import TRANSFORMS
from tests.support.properties import examples

FEATURES = [
    {"name": "word", "side": "user", "kind": "categorical"},
    {"name": "number", "side": "user", "kind": "numeric"},
    {"name": "tab", "side": "context", "kind": "categorical", "min_count": 2},
    {"name": "hour", "side": "context", "kind": "numeric", "transform": "log1p"},
    {"name": "music", "side": "item", "kind": "id", "hash_buckets": 7},
    {"name": "rate", "side": "item", "kind": "numeric", "transform": "quantile"},
]
NAMES = [feature["name"] for feature in FEATURES]

texts = st.text(max_size=6)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
json_values = st.recursive(
    # Any text a request may carry: lone surrogates too.
    scalars | st.text(st.characters(exclude_categories=[]), max_size=3) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
training_rows = st.lists(st.tuples(*[scalars] * len(NAMES)), max_size=12)
any_rows = st.lists(st.tuples(*[json_values] * len(NAMES)), min_size=1, max_size=12)


def schema(features=FEATURES, **data):
    columns = {"user": "user", "item": "item", "time": "time", "split": {"last": 0.5}}
    tasks = [{"name": "vtr", "type": "binary", "label": "y"}]
    return Schema.model_validate(
        {"name": "s", "data": {**columns, **data}, "features": features, "tasks": tasks}
    )


def columns_of(rows):
    return {name: Column([row[place] for row in rows]) for place, name in enumerate(NAMES)}


def fitted(rows):
    return Encoder.fit(schema(), columns_of(rows))


def categorical(values, **settings_):
    spec = CategoricalFeature(name="f", side="item", kind="id", **settings_)
    return CategoricalEncoder.fit(spec, Column(values))


def numeric(values, transform="none"):
    spec = NumericFeature(name="f", side="item", kind="numeric", transform=transform)
    return NumericEncoder.fit(spec, Column(values))


def same(one, other):
    return all(
        np.array_equal(left.ids, right.ids) and np.array_equal(left.numeric, right.numeric)
        for left, right in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, MISSING),
        (math.nan, MISSING),
        (np.float32("nan"), MISSING),
        ("", MISSING),
        (math.inf, MISSING),
        (-math.inf, MISSING),
        (True, "1"),
        (False, "0"),
        (np.True_, "1"),
        (3, "3"),
        (3.0, "3"),
        ("3", "3"),
        (np.int16(3), "3"),
        (np.float32(3), "3"),
        (-0.0, "0"),
        (2.5, "2.5"),
        ("2.5", "2.5"),
        ("text", "text"),
        ("nan", "nan"),
        ("unseen", UNKNOWN),
        ("3.0", UNKNOWN),
        (" 3", UNKNOWN),
        ("rare", UNKNOWN),
        (4, UNKNOWN),
        ([3], UNKNOWN),
        ({"3": 3}, UNKNOWN),
        (b"3", UNKNOWN),
    ],
)
def test_the_table_of_categories(value, expected):
    known = ["0", "1", "3", "2.5", "text", "nan"]
    encoder = categorical([*known, *known, "rare"], min_count=2)
    index = encoder.encode(Column([value]))[0]
    if isinstance(expected, str):
        assert index >= FIRST_KNOWN
        assert encoder.vocabulary.known[index - FIRST_KNOWN] == expected
    else:
        assert index == expected


@pytest.mark.parametrize("value", [None, math.nan, "", math.inf, -math.inf, "-inf", "nan"])
@pytest.mark.parametrize("listed", [[], {}, [3], {"a": 1}, b"3", "text", "3 apples", 10**400])
def test_a_missing_or_mistyped_number_is_the_mean_and_flagged(value, listed):
    encoder = numeric([1.0, 3.0, None])
    for missing in (value, listed):
        assert encoder.encode(Column([missing])).tolist() == [[0.0, 1.0]]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (True, -1),
        (False, -2),
        (3, 1),
        (3.0, 1),
        ("3", 1),
        (np.int8(3), 1),
        (2.5, 0.5),
        (1e9, CLIP),
        (-99, -CLIP),
    ],
)
def test_a_number_is_standardised_and_clipped(value, expected):
    # Training mean 2, deviation 1.
    assert numeric([1.0, 3.0, None]).encode(Column([value])).tolist() == [[expected, 0.0]]
    assert numeric([1.0, 3.0]).encode(Column([value])).tolist() == [[expected]]


@examples(150)
@given(training_rows, any_rows)
def test_any_value_becomes_a_row_of_the_table_and_a_finite_number(training, rows):
    encoder = fitted(training)
    columns = columns_of(rows)
    for side in encoder.encode(columns, len(rows)):
        assert side.ids.dtype == np.int64
        assert side.numeric.dtype == np.float32
        assert np.isfinite(side.numeric).all()
        assert np.abs(side.numeric).max(initial=0) <= CLIP
    for name in ("word", "tab", "music"):
        indices = encoder.features[name].encode(columns[name])
        assert indices.min() >= 0
        assert indices.max() < encoder.features[name].vocabulary.cardinality


@examples(80)
@given(training_rows, any_rows)
def test_an_encoder_read_back_from_json_is_the_same(training, rows):
    encoder = fitted(training)
    again = Encoder.from_json(schema(), encoder.to_json())
    assert again.to_json() == encoder.to_json()
    assert again.fingerprint == encoder.fingerprint
    assert same(again.encode(columns_of(rows), len(rows)), encoder.encode(columns_of(rows), len(rows)))


@examples(80)
@given(
    st.sampled_from(
        [
            st.integers(-3, 3),
            st.sampled_from([0.5, -0.0, 2.0, math.nan, math.inf]),
            st.booleans(),
            st.text("ab1"),
        ]
    ).flatmap(lambda values: st.lists(values, min_size=1, max_size=12))
)
def test_a_column_encodes_alike_as_a_list_an_array_and_coded(values):
    array = np.array(values)
    distinct, codes = np.unique(array, return_inverse=True)
    forms = [Column(values), Column(array), Column(distinct, codes), Column(distinct.tolist(), codes)]
    numbers = not isinstance(values[0], str)
    encoders = [categorical(["1", "a", "0.5"]), categorical([], hash_buckets=5)]
    encoders += [numeric([1, 2, None], transform) for transform in TRANSFORMS if numbers]
    for encoder in encoders:
        first, *others = [encoder.encode(form) for form in forms]
        assert len(first) == len(values)
        for other in others:
            np.testing.assert_array_equal(other, first)


@examples(80)
@given(training_rows, any_rows, st.data())
def test_overwriting_equals_encoding_afresh(training, rows, data):
    encoder = fitted(training)
    name = data.draw(st.sampled_from(NAMES))
    places = data.draw(st.lists(st.integers(0, len(rows) - 1), unique=True))
    values = data.draw(st.lists(json_values, min_size=len(places), max_size=len(places)))
    columns = columns_of(rows)
    changed = list(columns[name].values)
    for place, value in zip(places, values, strict=True):
        changed[place] = value
    for side in encoder.sides.values():
        if name in side.features:
            encoded = side.encode(columns, len(rows))
            side.overwrite(encoded, name, places, values)
            assert same([encoded], [side.encode({**columns, name: Column(changed)}, len(rows))])


@examples(60)
@given(st.lists(scalars, max_size=15), st.randoms())
def test_the_vocabulary_does_not_depend_on_the_order_of_rows(values, random):
    shuffled = list(values)
    random.shuffle(shuffled)
    assert categorical(shuffled).vocabulary.known == categorical(values).vocabulary.known
    assert (
        categorical(shuffled, max_size=3).vocabulary.known == categorical(values, max_size=3).vocabulary.known
    )


@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20),
    st.sampled_from(sorted(TRANSFORMS)),
)
def test_a_larger_number_never_encodes_smaller(training, numbers, transform):
    encoded = numeric(training, transform).encode(Column(sorted(numbers)))[:, 0]
    assert (np.diff(encoded) >= 0).all()


@pytest.mark.parametrize("transform", TRANSFORMS)
@pytest.mark.parametrize(
    "training",
    [
        [1e308, 1e308, -1e308],
        [1e308, 0.0, 5e-324],
        [5e-324, 0.0],
        [1e-310, 2e-310, -1e-310],
        [1.7976931348623157e308] * 3,
    ],
)
def test_extreme_numbers_stay_finite(training, transform):
    extremes = [1e308, -1e308, 1.7976931348623157e308, 5e-324, -5e-324, 1e-310, 0.0]
    encoded = numeric(training, transform).encode(Column(extremes))
    assert np.isfinite(encoded).all()
    assert encoded[0] >= encoded[1]


@pytest.mark.parametrize("constant", [0.1, 1 / 3, 1e9 + 0.3, 7])
def test_a_constant_feature_says_nothing_and_does_not_magnify_rounding(constant):
    encoder = numeric([constant] * 7)
    assert encoder.std == 1.0
    assert abs(encoder.encode(Column([constant]))[0, 0]) < 1e-3


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_standardised_training_values_have_mean_zero_and_deviation_one(transform):
    values = np.random.default_rng(0).normal(30, 5, 5000)
    encoded = numeric(values, transform).encode(Column(values))
    assert abs(encoded.mean()) < 0.01
    assert encoded.std() == pytest.approx(1.0, abs=0.01)


def test_values_that_only_validation_has_are_unknown_and_move_no_mean():
    train = np.array([True, True, False, True])
    coded = Column(["a", "b", "late"], np.array([0, 1, 2, 0]))
    listed = Column(["a", "b", "late", "a"])
    for column in (coded, listed):
        encoder = CategoricalEncoder.fit(
            CategoricalFeature(name="f", side="item", kind="id"), column.take(train)
        )
        assert encoder.vocabulary.known == ["a", "b"]
        assert encoder.encode(column).tolist() == [2, 3, UNKNOWN, 2]
    spec = NumericFeature(name="n", side="item", kind="numeric")
    for numbers in (
        Column(np.array([1.0, 3.0, 900.0, 2.0])),
        Column([1.0, 3.0, 900.0], np.array([0, 1, 2, 0])),
    ):
        assert NumericEncoder.fit(spec, numbers.take(train)).mean <= 2.0


def test_a_flag_is_there_only_where_training_had_gaps():
    assert numeric([1.0, None]).columns == 2
    without = numeric([1.0, 2.0])
    assert without.columns == 1
    assert without.encode(Column([None])).tolist() == [[0.0]]


def test_a_value_seen_too_rarely_is_unknown_and_the_most_frequent_are_kept():
    values = ["a"] * 3 + ["c"] * 2 + ["b"] * 2 + ["d"]
    assert categorical(values).vocabulary.known == ["a", "b", "c", "d"]
    assert categorical(values, min_count=2).vocabulary.known == ["a", "b", "c"]
    assert categorical(values, max_size=2).vocabulary.known == ["a", "b"]
    assert categorical(values, max_size=2).encode(Column(["c"])).tolist() == [UNKNOWN]
    assert categorical(values, min_count=2).vocabulary.cardinality == FIRST_KNOWN + 3


def test_one_value_written_three_ways_counts_as_one():
    assert categorical([1, 1.0, "1", True, "one"], min_count=4).vocabulary.known == ["1"]


def test_hash_buckets_know_every_value_and_spread_them():
    encoder = categorical([], hash_buckets=50)
    indices = encoder.encode(Column([f"v{number}" for number in range(2000)]))
    assert set(indices.tolist()) == set(range(FIRST_KNOWN, FIRST_KNOWN + 50))
    assert encoder.encode(Column([7, "7", 7.0])).tolist() == [encoder.encode(Column(["7"]))[0]] * 3
    assert encoder.encode(Column([None, "", [1]])).tolist() == [MISSING, MISSING, UNKNOWN]


def test_a_feature_that_nobody_gives_is_missing_in_every_row():
    encoder = fitted([("a", 1.0, "t", 2.0, "m", 0.5), ("b", None, "t", None, "m", None)])
    given_none = encoder.encode({name: Column([None, None]) for name in NAMES}, 2)
    assert same(encoder.encode({}, 2), given_none)
    assert encoder.sides["user"].defaults.ids.tolist() == [[MISSING]]
    assert encoder.sides["user"].defaults.numeric.tolist() == [[0.0, 1.0]]


def test_user_columns_stand_before_context_columns():
    encoder = fitted([("a", 1.0, "t", 2.0, "m", 0.5)] * 2 + [("b", None, "u", 9.0, "m", 0.1)])
    user, item = encoder.encode({"word": Column(["b"]), "tab": Column(["t"]), "hour": Column([9.0])}, 1)
    assert user.ids.tolist() == [[FIRST_KNOWN + 1, FIRST_KNOWN]]
    assert user.numeric[0, :2].tolist() == [0.0, 1.0]  # number, missing, with its flag
    assert user.numeric[0, 2] > 0  # hour
    assert item.ids.tolist() == [[MISSING]]


def test_the_fingerprint_names_whatever_changes_a_packed_row():
    rows = [("a", 1.0, "t", 2.0, "m", 0.5)] * 3
    base = fitted(rows).fingerprint
    assert len(base) == 32
    assert fitted([*rows, ("z", 1.0, "t", 2.0, "m", 0.5)]).fingerprint != base
    assert fitted([*rows, ("a", 8.0, "t", 2.0, "m", 0.5)]).fingerprint != base
    moved = [{**feature, "side": "item"} if feature["name"] == "word" else feature for feature in FEATURES]
    assert Encoder.fit(schema(moved), columns_of(rows)).fingerprint != base
    with_length = {unit: schema(video_len={"column": "l", "unit": unit}) for unit in ("s", "ms")}
    lengths = {Encoder.fit(one, columns_of(rows)).fingerprint for one in with_length.values()}
    assert len({base, *lengths}) == 3


def test_the_fingerprint_names_what_a_packed_row_is_made_of_though_the_encoder_is_the_same():
    rows = [("a", 1.0, "t", 2.0, "m", 0.5)] * 3
    seen = {"name": "seen", "by": "u", "of": "word"}
    made = {
        "column": schema([{**FEATURES[0], "column": "other"}, *FEATURES[1:]]),
        "expression": schema([{**FEATURES[0], "expr": "lower(other)"}, *FEATURES[1:]]),
        "history": schema(time="t", histories=[seen]),
        "another history": schema(time="t", histories=[{**seen, "where": "liked = 1"}]),
        "as it was": schema(),
    }
    found = {name: Encoder.fit(one, columns_of(rows)) for name, one in made.items()}
    assert len({encoder.to_json() for encoder in found.values()}) == 1
    assert len({encoder.fingerprint for encoder in found.values()}) == len(made)
    later = schema(time="t", histories=[seen], past_until=7)
    assert Encoder.fit(later, columns_of(rows)).fingerprint == found["history"].fingerprint


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b'{"format": 1}',
        b'{"format": 1, "features": {}}',
        b'{"format": 1, "features": 3}',
    ],
)
def test_an_encoder_that_does_not_fit_its_schema_is_refused(text):
    with pytest.raises(FulcrumError, match="does not fit its schema"):
        Encoder.from_json(schema(), text)


def test_an_encoder_of_another_format_is_refused():
    text = fitted([]).to_json().replace(b'"format": 1', b'"format": 2')
    with pytest.raises(FulcrumError, match="expected format 1, found 2"):
        Encoder.from_json(schema(), text)


def test_a_canonical_string_is_refused_to_what_is_no_scalar():
    with pytest.raises(TypeError, match="found list"):
        canonical([1])


# --- lists and shared vocabularies ------------------------------------------------------------------------

LISTED = Schema.model_validate(
    {
        "name": "lists",
        "data": {"user": "u", "item": "i", "split": {"train": "a", "validation": "b"}},
        "features": [
            {"name": "watched", "side": "user", "kind": "sequence", "max_values": 3, "shares": "video"},
            {"name": "age", "side": "user", "kind": "numeric"},
            {"name": "city", "side": "user", "kind": "categorical"},
            {"name": "video", "side": "item", "kind": "id", "width": 4},
            {"name": "tags", "side": "item", "kind": "multi", "separator": ",", "max_values": 2},
        ],
        "tasks": [{"name": "vtr", "type": "binary", "label": "a"}],
    }
)


def listed_rows():
    return {
        "watched": Column([["v1", "v9"], None, ["v2", "v1", "v2", "v3"]]),
        "age": Column([1.0, 2.0, None]),
        "city": Column(["x", "y", "x"]),
        "video": Column(["v1", "v2", "v1"]),
        "tags": Column(["a, b, c", "", "b"]),
    }


def test_lists_stand_in_columns_of_their_own_and_share_a_vocabulary_across_sides():
    encoder = Encoder.fit(LISTED, listed_rows())
    user, item = encoder.encode(listed_rows(), 3)
    # v1 is 2, v2 is 3; v9 and v3 are in no video column.
    assert user.ids.tolist() == [[UNKNOWN, 2, 0, 2], [0, 0, 0, 3], [UNKNOWN, 3, 2, 2]]
    assert item.ids.tolist() == [[2, 3, 2], [3, 0, 0], [2, 2, 0]]
    assert encoder.sides["user"].id_place == {"watched": slice(0, 3), "city": slice(3, 4)}
    assert encoder.sides["user"].table_rows.tolist() == [4, 4, 4, 4]  # missing, unknown and two each
    assert encoder.sides["item"].table_rows.tolist() == [4, 5, 5]
    assert encoder.sides["item"].table_rows.dtype == np.int64
    assert encoder.features["watched"].vocabulary is encoder.features["video"].vocabulary


def test_lists_survive_the_bundle_and_name_their_rows():
    encoder = Encoder.fit(LISTED, listed_rows())
    again = Encoder.from_json(LISTED, encoder.to_json())
    assert same(encoder.encode(listed_rows(), 3), again.encode(listed_rows(), 3))
    assert again.fingerprint == encoder.fingerprint
    document = LISTED.model_dump(mode="json")
    assert Schema.model_validate(document) == LISTED
    for key, value in (("max_values", 4), ("separator", ";")):
        document["features"][4][key] = value
        assert Encoder.fit(Schema.model_validate(document), listed_rows()).fingerprint != encoder.fingerprint


def test_a_list_is_overwritten_whole():
    encoder = Encoder.fit(LISTED, listed_rows())
    side = encoder.sides["user"]
    encoded = side.encode(listed_rows(), 3)
    side.overwrite(encoded, "watched", [2, 0], [["v2"], None])
    assert encoded.ids.tolist() == [[0, 0, 0, 2], [0, 0, 0, 3], [3, 0, 0, 2]]


def test_lists_where_one_value_belongs_are_refused():
    lists = ListColumn(Column(["a"]), np.array([0]), np.array([1]))
    with pytest.raises(FulcrumError, match="feature 'city': its column holds lists; make it of kind multi"):
        Encoder.fit(LISTED, {**listed_rows(), "city": lists})
    encoder = Encoder.fit(LISTED, listed_rows())
    with pytest.raises(FulcrumError, match="feature 'city': expected one value a row, found lists"):
        encoder.encode({"city": lists}, 1)
