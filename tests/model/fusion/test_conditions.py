"""Conditions: what holds, of what kind of value, and what cannot be one."""

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from model.fusion.conditions import Condition, RequestCondition, holds, lengths_that_hold

CONDITION = TypeAdapter(Condition)


def condition(value):
    return CONDITION.validate_python({"x": value})


@pytest.mark.parametrize(
    ("test", "held", "not_held"),
    [
        ("feed", ["feed"], ["Feed", "", 0, True, ["feed"], None]),
        (["feed", "friends"], ["feed", "friends"], ["other"]),
        (1, [1, 1.0, "1", "1.0"], [True, "01", "1_0", " 1", 1.5, float("nan")]),
        ("1", [1, 1.0, "1", "1.0"], [True, "01", 1.5]),
        ("007", ["007"], [7, "7"]),
        ("inf", ["inf"], [float("inf"), "nan"]),
        (True, [True], [1, 1.0, "true", False]),
        ([True, 1], [True, 1], [False, 0]),
        (0, [0, -0.0, 0.0], [False, "", None]),
        (
            {"from": 18, "below": 24},
            [18, 23.999, 18.0, "20"],
            [17.999, 24, True, "24", "", None, float("nan")],
        ),
        ({"from": 1}, [1, 1e300, 10**400], [0, True]),
        ({"below": 0}, [-1, -1e300], [0, -0.0, False]),
        (2**53, [2**53], [2**53 + 1, 2**53 - 1]),
    ],
)
def test_a_test_holds_of_values_of_its_kind(test, held, not_held):
    when = condition(test)
    assert [holds(when, {"x": value}) for value in held] == [True] * len(held)
    assert [holds(when, {"x": value}) for value in not_held] == [False] * len(not_held)
    assert not holds(when, {})
    assert not holds(when, {"y": held[0]})


def test_all_tests_must_hold():
    when = CONDITION.validate_python({"tab": ["feed"], "hour": {"from": 18}})
    assert holds(when, {"tab": "feed", "hour": 20, "more": 1})
    for request in ({"tab": "feed", "hour": 3}, {"tab": "x", "hour": 20}, {"tab": "feed"}, {}):
        assert not holds(when, request)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("feed", ["feed"]),
        (["b", "a", "b"], ("a", "b")),
        ([2, 1.0, "1", True, 1], [True, 1, 2]),
        ({"from": 18}, {"from": 18.0}),
        (-0.0, [0]),
    ],
)
def test_one_meaning_has_one_spelling(one, other):
    assert CONDITION.dump_json(condition(one)) == CONDITION.dump_json(condition(other))


def test_true_and_1_are_two_values():
    assert CONDITION.dump_json(condition([True, 1])) != CONDITION.dump_json(condition(1))
    assert CONDITION.dump_json(condition([True, 1])) != CONDITION.dump_json(condition(True))


EXPECTED = r"expected a value, a list of values, or a range {from: number, below: number}"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, f"{EXPECTED}, found null"),
        ([[1]], f"{EXPECTED}, found a list of 1"),
        (float("inf"), f"{EXPECTED}, found inf"),
        (float("nan"), f"{EXPECTED}, found nan"),
        ([], "found 0 values; expected 1 to 100"),
        (list(range(101)), "found 101 values; expected 1 to 100"),
        ({}, f"{EXPECTED}, found an empty mapping"),
        ({"form": 3}, f"{EXPECTED}, found 'form': 3"),
        ({"from": "3"}, f"{EXPECTED}, found 'from': '3'"),
        ({"from": True}, f"{EXPECTED}, found 'from': true"),
        ({"from": float("nan")}, f"{EXPECTED}, found 'from': nan"),
        ({"from": 3, "below": 3}, "from 3 is not less than below 3; expected it to be"),
        (2**53 + 1, "9007199254740993 is beyond 2^53, where whole numbers are no longer exact"),
        (10**400, "is beyond 2^53"),
        ({"below": -(10**400)}, "is beyond 2^53"),
    ],
)
def test_what_is_no_test_is_refused(value, message):
    with pytest.raises(ValidationError) as refusal:
        condition(value)
    assert message in str(refusal.value)


def test_a_condition_tests_something():
    with pytest.raises(ValidationError):
        CONDITION.validate_python({})


SECONDS = np.array([0.0, 7.0, 6.999, 30.0, np.nan])


@pytest.mark.parametrize(
    ("test", "held"),
    [
        ({"below": 7}, [True, False, True, False, False]),
        ({"from": 7}, [False, True, False, True, False]),
        ({"from": 7, "below": 30}, [False, True, False, False, False]),
        ([30, 0], [True, False, False, True, False]),
        (7, [False, True, False, False, False]),
    ],
)
def test_a_length_is_tested_candidate_by_candidate_and_an_unknown_one_passes_none(test, held):
    when = CONDITION.validate_python({"video_len_s": test})
    assert lengths_that_hold(when, SECONDS).tolist() == held
    assert holds(when, {}), "the request has no say in it"


def test_without_a_test_of_the_length_all_lengths_hold():
    assert lengths_that_hold(condition(1), SECONDS).tolist() == [True] * 5


@pytest.mark.parametrize("value", ["short", True, [7, "short"]])
def test_a_length_is_compared_with_numbers_alone(value):
    with pytest.raises(ValidationError, match="video_len_s is a number of seconds, and is compared with"):
        CONDITION.validate_python({"video_len_s": value})


def test_the_weights_of_a_request_cannot_depend_on_a_length():
    with pytest.raises(ValidationError, match="video_len_s is a candidate's"):
        TypeAdapter(RequestCondition).validate_python({"video_len_s": {"below": 7}})
