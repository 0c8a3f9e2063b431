"""What is made of earlier rows, as declared."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from model.schema.past import MOST_VALUES, HistorySpec, PriorSpec


@pytest.mark.parametrize(("by", "columns"), [("user", ("user",)), (["user", "tab"], ("user", "tab"))])
def test_one_key_column_may_stand_for_a_list(by, columns):
    assert PriorSpec(name="rate", by=by, of="clicked").by == columns


def test_a_prior_makes_its_mean_count_and_age_and_a_history_one_list():
    assert PriorSpec(name="rate", by="user", of="clicked").columns == ("rate", "rate_count", "rate_age_s")
    assert HistorySpec(name="liked", by="user", of="video").columns == ("liked",)


@pytest.mark.parametrize(
    ("kind", "given"),
    [
        (PriorSpec, {"by": []}),
        (PriorSpec, {"smoothing": -1.0}),
        (PriorSpec, {"half_life_days": 0.0}),
        (PriorSpec, {"delay_s": -1.0}),
        (HistorySpec, {"last": 0}),
        (HistorySpec, {"last": MOST_VALUES + 1}),
    ],
)
def test_numbers_without_a_meaning_are_refused(kind, given):
    with pytest.raises(ValidationError, match=next(iter(given))):
        kind(**{"name": "past", "by": "user", "of": "clicked", **given})
