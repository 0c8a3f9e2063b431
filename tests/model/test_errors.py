"""Words for what is wrong: a path as the document spells it, what was expected, what was found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import pytest
from pydantic import Discriminator, Field, Tag, ValidationError

from model.errors import FulcrumError, Problem, checked, dotted, first_problem, problems, shown
from model.frozen import Frozen, Name


class Round(Frozen):
    kind: Literal["round", "ball"]
    name: str
    radius: float = Field(gt=0)


class Flat(Frozen):
    kind: Literal["flat"]
    name: str
    sides: Annotated[tuple[int, ...], Field(min_length=1)] = (1,)


Thing = Annotated[Round | Flat, Field(discriminator="kind")]
Size = Annotated[
    Annotated[float, Tag("one")] | Annotated[dict[str, float], Tag("each")],
    Discriminator(lambda value: "each" if isinstance(value, Mapping) else "one"),
]


class Box(Frozen):
    title: str
    things: tuple[Thing, ...] = ()
    best: Thing | None = None
    plain: list[dict[str, int]] = Field(default=[])
    size: Size = 1.0
    named: dict[Name, Thing] = Field(default={})
    options: dict[str, str | int | bool] = Field(default={})
    span: tuple[float, Annotated[float, Field(le=1)]] = (0.0, 1.0)


def told(document: dict[str, Any]) -> list[str]:
    document = {"title": "a", **document}
    with pytest.raises(ValidationError) as error:
        Box.model_validate(document)
    return [str(problem) for problem in problems(error.value, Box, document)[0]]


def flat(**fields: Any) -> dict[str, Any]:
    return {"things": [{"kind": "flat", "name": "f", **fields}]}


@pytest.mark.parametrize(
    ("document", "line"),
    [
        ({"title": 3}, "title: expected text, found 3"),
        (
            {"x": 3},
            "x: unknown key; known keys are title, things, best, plain, size, named, options, span",
        ),
        ({"things": 3}, "things: expected a list, found 3"),
        ({"things": [3]}, "things[0]: expected a mapping, found 3"),
        ({"things": [{"kind": "flat"}]}, "things[0].name: required, but absent"),
        (
            {"things": [{"kind": "ball", "name": "b", "radius": 0}]},
            "things.b.radius: expected a number above 0, found 0",
        ),
        (flat(sides=[]), "things.f.sides: expected 1 or more values, found a list of 0"),
        (flat(name="a b", sides=3), "things[0].sides: expected a list, found 3"),
        (flat(sides=["x"]), "things.f.sides[0]: expected a whole number, found 'x'"),
        (flat(side=[1]), "things.f.side: unknown key; known keys are kind, name, sides; did you mean sides?"),
        (
            flat(kind="bal"),
            "things.f.kind: unknown kind 'bal'; the kinds are round, ball, flat; did you mean ball?",
        ),
        (
            {"things": [{"name": "b"}]},
            "things.b.kind: required, but absent; the kinds are round, ball, flat",
        ),
        ({"best": {"kind": "flat", "name": "f", "sides": 1}}, "best.sides: expected a list, found 1"),
        ({"plain": [{"name": None}]}, "plain[0].name: expected a whole number, found null"),
        ({"size": "x"}, "size: expected a number, found 'x'"),
        ({"size": {"a": "x"}}, "size.a: expected a number, found 'x'"),
        (
            {"named": {"b c": {"kind": "flat", "name": "f"}}},
            "named: bad name 'b c': expected letters, digits and underscores, found 'b c'",
        ),
        ({"named": {"flat": {"kind": "flat"}}}, "named.flat.name: required, but absent"),
        (
            {"options": {"a": []}},
            "options.a: expected text or a whole number or true or false, found a list of 0",
        ),
        ({"span": [0, 2]}, "span[1]: expected a number of at most 1, found 2"),
        ({"span": [float("nan"), 1]}, "span[0]: expected a finite number, found nan"),
    ],
)
def test_a_problem_names_its_path_what_was_expected_and_what_was_found(document, line):
    assert told(document) == [line]


def test_the_length_of_a_name_is_in_characters():
    class Named(Frozen):
        id: Annotated[Name, Field(max_length=3)]

    with pytest.raises(ValidationError) as error:
        Named.model_validate({"id": "long"})
    (problem,) = problems(error.value, Named, {})[0]
    assert str(problem) == "id: expected at most 3 characters, found 'long'"


def test_a_document_that_is_not_at_hand_names_items_by_index():
    document = {"title": "a", "things": [{"kind": "flat", "name": "f", "sides": 1}]}
    with pytest.raises(ValidationError) as error:
        Box.model_validate(document)
    assert problems(error.value, Box)[0] == [Problem("things[0].sides", "expected a list, found 1")]


def test_an_unknown_key_is_reported_before_the_one_that_it_should_have_been():
    lines = told({"things": [{"kind": "ball", "name": "b", "radus": 1}]})
    assert lines[0].startswith("things.b.radus: unknown key")
    assert lines[1] == "things.b.radius: required, but absent"


def test_only_the_first_of_many_problems_are_put_into_words():
    document = {"title": "a", "plain": [{"a": "x"}] * 300}
    with pytest.raises(ValidationError) as error:
        Box.model_validate(document)
    found, count = problems(error.value, Box, document)
    assert (len(found), count) == (20, 300)
    line = "plain[0].a: expected a whole number, found 'x' (and 299 more)"
    assert first_problem(error.value, Box, document) == line


def test_a_document_is_refused_with_its_source_and_its_place_in_another():
    assert checked(Box, {"title": "a"}, "box b.yaml", at="boxes.b") == Box(title="a")
    with pytest.raises(FulcrumError, match=r"^box b\.yaml: boxes\.b\.title: required, but absent$"):
        checked(Box, {}, "box b.yaml", at="boxes.b")
    with pytest.raises(FulcrumError, match=r"^boxes\.b: expected a mapping, found 3$"):
        checked(Box, 3, at="boxes.b")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (("scenes", "feed", "points", 2), "scenes.feed.points[2]"),
        (("scenes", "a\nb"), r"scenes.'a\nb'"),
        (("",), "''"),
        (("x" * 1000,), f"'{'x' * 56}..."),
    ],
)
def test_a_path_is_one_line_and_never_long(path, text):
    assert dotted(path) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": 1}, "a mapping"),
        ([1, 2], "a list of 2"),
        (True, "true"),
        (None, "null"),
        (1.5, "1.5"),
        ("x\ny", r"'x\ny'"),
        ("x" * 10_000, f"'{'x' * 56}..."),
    ],
)
def test_a_bad_value_is_shown_on_one_line_and_never_long(value, text):
    assert shown(value) == text
