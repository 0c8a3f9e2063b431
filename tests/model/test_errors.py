"""Words for what is wrong: a path, what was expected, what was found, on one line."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from model.errors import first_problem, problems, shown
from model.frozen import Frozen


class Inner(Frozen):
    width: int


class Outer(Frozen):
    name: str
    parts: tuple[Inner, ...] = ()


def invalid(document):
    with pytest.raises(ValidationError) as error:
        Outer.model_validate(document)
    return error.value


def test_a_problem_names_its_path_and_what_was_found():
    lines = problems(invalid({"parts": [{"width": 1}, {"width": "wide", "hight": 2}]}))
    assert lines[0] == "name: required, but absent"
    assert lines[1].startswith("parts[1].width: input should be a valid integer")
    assert lines[1].endswith("found 'wide'")
    assert lines[2].startswith("parts[1].hight: unknown key")


def test_the_first_problem_says_how_many_more_there_are():
    assert first_problem(invalid({})) == "name: required, but absent"
    assert first_problem(invalid({"parts": 3})).endswith("(and 1 more)")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1}, "a mapping"),
        ([1, 2], "a list of 2"),
        (True, "true"),
        (None, "empty"),
        (1.5, "1.5"),
        ("x\ny", r"'x\ny'"),
    ],
)
def test_a_bad_value_is_shown_on_one_line(value, text):
    assert shown(value) == text


def test_a_long_value_is_cut():
    assert len(shown("x" * 10_000)) < 100
