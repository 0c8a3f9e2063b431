"""The strict reader: which texts are values, and which are refused before anyone reads them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.document import read_document, write_document
from model.errors import FulcrumError
from tests.support.properties import examples

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20)
values = st.recursive(
    scalars | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@examples(100)
@given(values)
def test_json_reads_as_json(value):
    assert read_document(json.dumps(value)) == value
    assert read_document(json.dumps(value, indent=2)) == value
    assert read_document(json.dumps({"in": value}, indent="\t")) == {"in": value}
    assert read_document(json.dumps(value, separators=(",", ":"))) == value


@examples(100)
@given(st.dictionaries(texts, values | st.sampled_from(["1e-4", "no", "010", ".5", "~"]), max_size=4))
def test_what_is_written_reads_as_the_same(value):
    assert read_document(write_document(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E+2", 100.0),
        (".5", 0.5),
        ("-3", -3),
        ("010", 10),
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2022-05-01", "2022-05-01"),
        ("~", None),
        ("TRUE", True),
        ("", None),
    ],
)
def test_scalars_follow_the_core_schema(text, value):
    read = read_document(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3", r"duplicate key 'a' at line 3, column 1; keep one of them"),
        ("x: {a: 1, 'a': 1}", r"duplicate key 'a' at line 1, column 11"),
        ('{"a": 1, "\\u0061": 1}', r"duplicate key 'a'"),
        ("a: &one {b: 1}\nc: *one", r"alias \*one at line 2, column 4 is not accepted; write the value out"),
        ("a: &a [1]\nb:\n  <<: *a", r"alias \*a at line 3"),
        ("a: !!python/object/apply:os.system [ls]", r"a tag at line 1, column 4 is not accepted"),
        ("a: !!timestamp x", r"a tag at line 1"),
        ("1: a", r"a key that is not text at line 1, column 1: 1; put it in quotes"),
        ("true: a", r"not text at line 1, column 1: true"),
        ("? [a]\n: 1", r"not text at line 1, column 3: a list of 1"),
        ("a: 1\n---\nb: 1", r"expected a single document"),
        ("a: [1", r"not valid YAML at line 1, column 6"),
        ("a:\n\tb: 1", r"not valid YAML at line 2, column 1"),
        ("a: 1\nb: \0", r"not text at line 2: character U\+0000"),
        ('"\\ud800"', r"half of a character"),
        ("9" * 5000, r"number of 5000 digits"),
        ("[" * 100_000, r"nested deeper than 32 levels at line 1, column 33"),
        ("{a: " * 100_000, r"nested deeper than 32 levels"),
        ("a" * (1 << 20) + "a", r"larger than 1048576 bytes"),
    ],
)
def test_what_hides_a_mistake_or_an_attack_is_refused(text, message):
    with pytest.raises(FulcrumError, match=message):
        read_document(text)
