"""Rewards by expression: what may be named, what is unknown, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from model.errors import FulcrumError
from model.schema import Schema
from training.metrics.reward import default_reward, not_negative, values_of

LABELS = {"vtr": np.array([1.0, 0.0, 1.0]), "shr": np.array([0.0, 1.0, np.nan])}
SECONDS = np.array([10.0, 20.0, np.nan])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vtr + 2 * shr", [1, 2, np.nan]),
        ("vtr + coalesce(shr, 0)", [1, 1, 1]),
        ("vtr", [1, 0, 1]),
        ("vtr * video_len_s", [10, 0, np.nan]),
        ("CASE WHEN shr = 1 THEN 5 ELSE vtr END", [1, 5, 1]),
        ("vtr > 0", [1, 0, 1]),
        ("2", [2, 2, 2]),
    ],
)
def test_a_reward_is_an_expression_over_labels_and_unknown_where_they_are(text, expected):
    np.testing.assert_array_equal(values_of(text, LABELS, SECONDS), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vtr + cmr", "there is no label 'cmr'; there is video_len_s, vtr, shr"),
        ("vtr +", "no Polars SQL expression"),
        ("vtr, shr", "no Polars SQL expression"),
        ("", "no Polars SQL expression"),
        ("vtr - 1", "expected 0 or more, found -1 in 1 rows"),
        ("1 / vtr", "expected a finite number, found inf in 1 of 3 rows"),
        ("vtr / 0", "found inf in 3 of 3 rows"),
        ("(vtr * 0) / 0", "found nan in 3 of 3 rows"),
        ("ln(shr)", "found -inf in 1 of 3 rows"),
        ("'good'", "fails on these labels"),
    ],
)
def test_what_is_no_reward_is_refused_by_what_is_wrong(text, message):
    with pytest.raises(FulcrumError, match=r"^reward ") as refusal:
        not_negative(text, values_of(text, LABELS, SECONDS))
    assert message in str(refusal.value)


def test_by_default_all_labels_are_added_and_none_outside_a_sample_space_counts_as_0(document):
    schema = Schema.model_validate({key: document[key] for key in ("name", "data", "features", "tasks")})
    assert default_reward(schema) == "vtr + coalesce(vcr, 0) + coalesce(shr, 0)"
