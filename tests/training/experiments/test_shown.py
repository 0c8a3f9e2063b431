from tests.support.experiment_reports import START_MS, report
from training.experiments.shown import ended, shown

DECIDED = {
    "event": 9,
    "time_ms": START_MS,
    "actor": "anna",
    "action": "experiment_decided",
    "after": {"id": "more_shares", "arm": "more"},
    "why": "+1.9 %",
}
OTHER = {**DECIDED, "event": 10, "after": {"id": "other", "arm": "b"}}
CREATED = {**DECIDED, "action": "revision_proposed", "after": None}


def test_the_newest_event_of_the_experiment_says_how_it_ended():
    paused = {**DECIDED, "event": 3, "action": "experiment_paused", "actor": "paul"}
    says = "decided for more by anna, 2026-09-21 14:13 UTC: +1.9 %"
    assert ended(report(state="stopped"), [OTHER, CREATED, DECIDED, paused]) == says
    assert ended(report(state="stopped"), [OTHER]) == ""
    assert ended(report(), [paused]) == ""  # it was started since


def test_a_pause_by_a_change_of_what_is_active_names_the_change():
    activated = {**DECIDED, "event": 7, "action": "revision_activated", "after": {"revision": 3}}
    paused = {
        **DECIDED,
        "event": 8,
        "actor": "fulcrum",
        "action": "experiment_paused",
        "after": {"id": "more_shares"},
        "why": "event 7 changed what is active",
    }
    says = "paused by fulcrum, 2026-09-21 14:13 UTC: what is active changed"
    assert ended(report(state="paused"), [paused]) == says
    found = ended(report(state="paused"), [paused, activated])
    assert found == f"{says}: revision activated by anna: +1.9 %"


def test_what_the_outcome_says_is_not_told_twice_but_a_decision_is():
    outcome = {"verdict": "worse", "arm": "more", "why": "+1.9 %", "time_ms": START_MS, "actor": "anna"}
    one = report(state="stopped", outcome=outcome)
    assert ended(one, [{**DECIDED, "action": "experiment_stopped"}]) == ""
    assert ended(one, [DECIDED]).startswith("decided for more")


def test_looks_at_an_earlier_comparison_are_left_out():
    seen = report(8)["looks"]
    found = shown(report(8, since_ms=seen[3]["time_ms"]))
    assert found["looks"] == seen[3:]
    assert found["look"] == seen[-1]
    assert shown(report(8, since_ms=seen[-1]["time_ms"] + 1))["look"] is None
