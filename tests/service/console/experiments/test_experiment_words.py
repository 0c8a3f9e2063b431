"""Experiments in words: numbers that people decide by."""

from __future__ import annotations

import time

from service.console.experiments import words
from service.console.words import MINUS, NOTHING
from tests.support.experiments_in_memory import HOUR_MS, look, report

NOW = int(time.time() * 1000)


def test_only_what_runs_now_is_live():
    assert not words.is_live(report("a"))
    assert words.is_live(report("a", state="running"))
    later, over = (
        report("a", state="running", start_ms=NOW + HOUR_MS),
        report("a", state="running", stop_ms=NOW - 1),
    )
    assert not words.is_live(later)
    assert not words.is_live(over)
    assert words.state(later).startswith("begins at 20")
    assert words.state(over).startswith("ended at 20")


def test_an_arm_is_what_it_names_and_else_what_is_active():
    arms = [
        {"name": "a"},
        {"name": "b", "bundle": "sha256:" + "c" * 64, "revision": 7},
        {"name": "d", "bundle": "sha256:" + "c" * 64, "patch": {}},
    ]
    shares = [{**arm, "share": share} for arm, share in zip(arms, (2000, 3000, 5000), strict=True)]
    one = report("x", shares)
    assert [words.what_it_has(arm) for arm in one["arms"]] == [
        "what is active",
        "bundle cccccccccc and revision 7",
        "bundle cccccccccc and a patch of the active config",
    ]
    assert words.by_arm(one, 1000) == ["a 2 %", "b 3 %", "d 5 %"]


def test_the_next_step_of_a_ramp_is_the_first_beyond_what_is_live():
    plan = [{"to": 500, "hours": 12}, {"to": 1000}, {"to": 1500, "hours": 24, "units": 1}, {"to": 2000}]
    one = report("x", ramps=plan)
    assert [when for _, when in words.steps(one)] == ["done", "done", "next", "later"]
    assert words.steps(one)[2][0] == "1,500 buckets, 15 % after 1 d and once each arm has had 1 unit"
    assert words.next_ramp(one) == 1500
    assert words.next_ramp(report("x", ramps=plan, ramp=2000)) == 2000


def test_new_units_a_day_are_of_the_newest_look_and_follow_the_ramp():
    one = report("x", state="running", since_ms=NOW - 48 * HOUR_MS)
    assert words.units_a_day(one, 1000) is None
    one["look"] = look(one, 48, 0.0, 0.1)
    assert words.units_a_day(one, 1000) == 4800.0
    assert words.units_a_day(one, 1500) == 7200.0


def test_what_is_said_names_alarms_before_what_comes_next():
    one = report("x", state="running", since_ms=NOW - 48 * HOUR_MS)
    assert words.verdicts(one) == ["People judge it."]
    one["look"] = seen = look(one, 48, 0.0, 0.1)
    seen["sample_ratio"] = {
        "alarm": True,
        "e_value": 5000.0,
        "scene": "feed",
        "counts": {"control": 4000, "less": 5600},
        "expected": {"control": 4800.0, "less": 4800.0},
    }
    seen["crossed"] = 1
    assert words.verdicts(one) == [
        "less: no verdict yet; 0 is in its interval",
        "The arms have not the shares that were declared: control 4,000 units where 4,800 were expected, "
        "less 5,600 units where 4,800 were expected (feed).",
        "1 unit met more than one arm.",
        "at 7 days there is a verdict",
    ]
    one["outcome"] = {"verdict": "worse", "arm": "less", "why": "slow", "time_ms": 0, "actor": "watch"}
    assert words.verdicts(one)[0] == "Outcome: less is worse, said by watch at 1970-01-01 00:00:00 UTC. slow"


def test_an_interval_that_is_not_known_is_no_number():
    assert words.ends(-0.003, 0.029) == f"{MINUS}0.30 % to +2.90 %"
    assert words.ends(None, 0.029) == words.ends(0.1, float("inf")) == NOTHING
