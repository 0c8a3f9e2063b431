"""History: where a rollback leads, as the audit says it."""

from __future__ import annotations

from typing import Any

import pytest

from service.console.changes.history import before_active


def activated(before: int, after: int) -> dict[str, Any]:
    return {"action": "revision_activated", "before": {"revision": before}, "after": {"revision": after}}


def rolled_back(before: int, after: int) -> dict[str, Any]:
    return activated(before, after) | {"action": "revision_rolled_back"}


@pytest.mark.parametrize(
    ("events", "active", "target"),
    [
        ([activated(1, 2)], 2, 1),
        ([activated(1, 2), activated(2, 3)], 3, 2),
        ([activated(1, 2), activated(2, 3), rolled_back(3, 2)], 2, 1),
        ([activated(1, 2), rolled_back(2, 1), activated(1, 3)], 3, 1),
        ([activated(1, 2), activated(2, 1)], 1, 2),
        ([activated(1, 2), rolled_back(2, 1)], 1, None),
        ([activated(4, 5)], 6, None),  # more has happened than the events say
        ([], 1, None),
    ],
)
def test_a_rollback_leads_to_what_was_active_before(
    events: list[dict[str, Any]], active: int, target: int | None
) -> None:
    assert before_active(events[::-1], active) == target
