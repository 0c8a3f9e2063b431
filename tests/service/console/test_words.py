"""Numbers and times as people read them."""

from __future__ import annotations

import pytest

from service.console import words


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (0.0, "0"),
        (0.01234, "0.0123"),
        (-12.34, "\N{MINUS SIGN}12.3"),
        (12345.0, "12300"),
        (1e-9, "1.00e\N{MINUS SIGN}09"),
        (None, "\N{EN DASH}"),
    ],
)
def test_numbers_have_three_digits(value: float | None, said: str) -> None:
    assert words.number(value) == said


def test_nothing_has_no_sign() -> None:
    assert words.signed(-0.0001) == "0.000"
    assert words.signed(0.0001) == "0.000"
    assert words.signed(0.5, 1) == "+0.5"
    assert words.signed_percent(-0.5) == "\N{MINUS SIGN}50.0 %"
    assert words.percent(float("nan")) == "\N{EN DASH}"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.00035, "0.35 ms"), (0.2, "200 ms"), (3.2, "3.2 s"), (300, "5 min"), (7200, "2 h")],
)
def test_spans_have_a_unit_of_their_size(seconds: float, said: str) -> None:
    assert words.span(seconds) == said


def test_metrics_are_named_by_their_path_and_only_numbers_count() -> None:
    assert words.flat({"vtr": {"auc": 0.7, "name": "x"}, "rows": 3, "ok": True}) == {
        "vtr.auc": 0.7,
        "rows": 3.0,
    }
