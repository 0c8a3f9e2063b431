"""What an event of the audit changed, and when a change may come, in words."""

from __future__ import annotations

from typing import Any

import pytest

from model.errors import FulcrumError
from service.console.changes.confirm import later_ms
from service.console.changes.event import sides, subject
from service.console.words import NOTHING

NOW_MS = 1_795_900_000_000.0  # 2026-11-28 21:06:40 UTC


def event(before: Any, after: Any) -> dict[str, Any]:
    return {"before": before, "after": after}


@pytest.mark.parametrize(
    ("before", "after", "of", "says"),
    [
        (
            {"revision": 3},
            {"revision": 4, "bundle": "sha256:" + "a" * 64},
            "",
            ("revision 3", "revision 4, bundle aaaaaaaaaa"),
        ),
        (
            None,
            {"revision": 5, "at_ms": NOW_MS, "why": "x"},
            "",
            (NOTHING, "revision 5, at 2026-11-28 21:06:40 UTC"),
        ),
        (
            {"id": "more_shares", "state": "draft", "edition": 1},
            {"id": "more_shares", "state": "running", "edition": 2},
            "more_shares",
            ("draft", "running"),
        ),
        (
            {"id": "a", "ramp": 100},
            {"id": "a", "ramp": 1000},
            "a",
            ("100 live buckets", "1,000 live buckets"),
        ),
        (
            {"id": "a", "overrides": {}},
            {"id": "a", "overrides": {"u1": "less"}},
            "a",
            ("testers: none", "testers: u1 has less"),
        ),
        (
            {"id": "a", "state": "running", "outcome": None},
            {
                "id": "a",
                "state": "stopped",
                "outcome": {"verdict": "better", "arm": "less"},
                "arm": "less",
                "revision": 7,
            },
            "a",
            ("running", "stopped; less: better; less for everybody; revision 7"),
        ),
        (
            None,
            {"name": "ranking", "salt": "s", "unit": "user", "holdout": 500},
            "ranking",
            (NOTHING, "deals users; holdout of 500 buckets"),
        ),
        ({"id": "a"}, {"id": "a"}, "a", (NOTHING, NOTHING)),
    ],
)
def test_an_event_says_of_what_it_is_and_what_it_changed(
    before: Any, after: Any, of: str, says: tuple[str, str]
) -> None:
    assert (subject(event(before, after)), sides(event(before, after))) == (of, says)


def test_a_time_that_has_passed_is_named_beside_the_present_one_and_both_in_utc() -> None:
    assert later_ms("2026-11-28T21:07", NOW_MS) == NOW_MS + 20_000
    with pytest.raises(FulcrumError) as raised:
        later_ms("2020-01-01T09:00", NOW_MS)
    assert "2020-01-01 09:00:00 UTC is not in the future: it is 2026-11-28 21:06:40 UTC now" in str(
        raised.value
    )
