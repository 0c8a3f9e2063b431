"""What the state's tables say of a service."""

from __future__ import annotations

import time

from service.console.state.page import _service

READY = {
    "workers": {"wanted": 2, "ready": 2, "replaced": 0},
    "bundles": {"sha256:" + "b" * 64: 2},
    "fusions": {"sha256:" + "c" * 64: 2},
    "revisions": {"7": 1, "8": 1},
    "control": "failing: no answer",
    "features": "reachable",
}


def test_a_service_says_its_revisions_its_control_and_how_old_features_are() -> None:
    name = time.strftime("%Y%m%dT%H%M%S", time.gmtime(time.time() - 2 * 3600 - 60))
    shown = _service({**READY, "generations": {f"{name}-4f0c2a": 2}})
    for said in ("7 (1 worker), 8 (1 worker)", "failing: no answer", "UTC, 2 h ago (2 workers)"):
        assert said in shown


def test_of_an_older_service_and_of_names_without_a_time_it_says_what_there_is() -> None:
    older = {key: value for key, value in READY.items() if key not in ("revisions", "control")}
    shown = _service({**older, "generations": {"by-hand": 1, "none": 1}})
    assert "published by-hand (1 worker), none (1 worker)" in shown
    assert "control store" not in shown
