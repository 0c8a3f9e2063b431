from dataclasses import replace

import pytest

from model.experiments import Ramp
from tests.support.experiment_service import HOUR_MS, ExperimentService
from tests.support.experiment_site import START_MS, TERMS
from training.experiments.sample_ratio import SampleRatio
from training.experiments.verdicts import Judged, Look
from training.experiments.watching.deciding import action, says
from training.experiments.watching.looking import Looked

RATIO = SampleRatio(False, "all", 1.0, [], [])


def seen(verdicts, hours=2.0, units=50, differences=None, **fields):
    """A look two hours after the start, at arms with these verdicts."""
    arms = ["control", *verdicts]
    share = 10_000 // len(arms)
    parts = [10_000 - share * (len(arms) - 1), *[share] * (len(arms) - 1)]
    service = ExperimentService(lambda: START_MS)
    arms_ = [{"name": name, "share": part} for name, part in zip(arms, parts, strict=True)]
    service.create(**{"terms": TERMS, "arms": arms_, "ramp": 100, **fields})
    service.start()
    judged = {
        name: Judged(
            verdict, f"why {name}", {"reward": ((differences or {}).get(name, 0.0), 0.0, 0.0)}, {}, RATIO, 0
        )
        for name, verdict in verdicts.items()
    }
    look = Look(days=0.5, shares=dict.fromkeys(arms, 0.5), metrics={}, units=[units] * len(arms))
    until = START_MS + round(hours * HOUR_MS)
    return Looked(service.one(), until, look, judged, until, until, dict.fromkeys(arms, until), until)


@pytest.mark.parametrize(
    ("verdicts", "what", "arm"),
    [
        ({"a": "worse"}, "stop", "a"),
        ({"a": None, "b": "worse"}, "stop", "b"),
        ({"a": "worse", "b": "better"}, "decide", "b"),
        ({"a": "better", "b": "better"}, "decide", "b"),
        ({"a": "inconclusive", "b": "inconclusive"}, "pause", "a"),
        ({"a": "inconclusive", "b": "worse"}, "stop", "b"),
    ],
)
def test_the_best_arm_is_taken_and_else_harm_ends_it_for_all(verdicts, what, arm):
    one = seen(verdicts, differences={"a": 0.01, "b": 0.02}, on_better="activate")
    found = action(one)
    assert (found.what, found.body["outcome"]["arm"]) == (what, arm)
    assert says(one).startswith(f"{what}: ")


def test_a_ramp_takes_the_next_step_when_hours_and_units_are_there():
    ramps = (Ramp(to=100), Ramp(to=500, hours=2, units=50), Ramp(to=1_000, hours=1))
    assert action(seen({"a": None}, ramps=ramps)).body == {"to": 500}
    early, few = seen({"a": None}, hours=1.5, ramps=ramps), seen({"a": None}, units=49, ramps=ramps)
    assert action(early) is None
    assert "ramps to 500 buckets after 0.5 more hours of events" in says(early)
    assert "after 1 more hour of events" in says(seen({"a": None}, hours=1.0, ramps=ramps))
    assert action(few) is None
    assert "when control has 50 units, of which 49 have come" in says(few)


def test_hours_count_as_far_as_events_have_come():
    one = seen({"a": None}, ramps=(Ramp(to=500, hours=2),))
    assert action(replace(one, seen_until_ms=one.seen_until_ms - HOUR_MS)) is None
    assert action(one).what == "ramp"


def test_without_a_plan_nothing_ramps():
    one = seen({"a": None})
    assert action(one) is None
    assert says(one) == "a verdict after 1.5 more days of complete feedback at the latest"


def test_an_arm_and_feedback_that_stay_away_are_named():
    one = seen({"a": None}, hours=5.0)
    one = replace(one, newest_ms={"control": one.time_ms, "a": None}, feedback_ms=None)
    assert "no exposure of a for 5.0 hours" in says(one)
    assert "no feedback on the last 5.0 hours: verdicts wait for it" in says(one)
