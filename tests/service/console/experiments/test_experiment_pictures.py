"""Lanes and intervals: what is drawn is what was said."""

from __future__ import annotations

import re
import time

from service.console.experiments.intervals import intervals
from service.console.experiments.lanes import lanes
from service.console.words import MINUS
from tests.support.experiments_in_memory import LAYER, look, report

NOW = int(time.time() * 1000)


def rects(drawn: str) -> list[tuple[str, float, float]]:
    found = re.findall(r'<rect class="([^"]*)" x="(\d+)" y="1" width="(\d+)"', drawn)
    return [(kind, float(x), float(wide)) for kind, x, wide in found]


def test_a_lane_has_what_is_held_what_is_live_and_what_is_held_out():
    runs = report("runs", state="running", first=1000)
    gone, elsewhere = report("gone", state="stopped"), report("elsewhere", layer="other")
    drawn = lanes([LAYER], [report("short", first=4000, size=3, ramp=1), gone, runs, elsewhere])
    assert rects(drawn) == [
        ("s0 held running", 1000, 2000),
        ("s0", 1000, 1000),
        ("s1 held draft", 4000, 15),  # so that it is seen
        ("holdout", 9500, 500),
    ]
    assert "elsewhere" not in drawn
    assert "gone" not in drawn
    assert "5,500 are free" in drawn


def test_a_run_at_the_end_of_a_lane_lies_within_it():
    drawn = lanes([{**LAYER, "holdout": 0}], [report("last", first=9999, size=1, ramp=1)])
    assert rects(drawn) == [("s0 held draft", 9985, 15)]


def test_intervals_are_drawn_in_the_order_of_time_and_within_the_picture():
    one = report("x", since_ms=NOW)
    looks = [look(one, hours, 0.02, 1.0 / hours) for hours in range(1, 41)]
    drawn = intervals(looks, "reward", ["control", "less"], NOW)
    (points,) = re.findall(r'<polyline class="middle s1" points="([^"]*)"', drawn)
    x, y = zip(*(map(float, point.split(",")) for point in points.split()), strict=True)
    assert list(x) == sorted(x)
    assert (len(x), max(x) <= 480.0, min(y) >= 6.0, max(y) <= 182.0) == (40, True, True, True)
    assert f"at last less +2.00 %, {MINUS}0.50 % to +4.50 %, after 40 looks" in drawn


def test_what_is_not_known_is_not_drawn():
    one = report("x", since_ms=NOW)
    bare = look(one, 1, 0.02, 0.1)
    bare["metrics"]["reward"]["less"] = {"value": 1.0, "difference": None, "low": None, "high": None}
    assert "nothing is known yet" in intervals([bare], "reward", ["control", "less"], NOW)
    assert "nothing is known yet" in intervals([], "reward", ["control", "less"], NOW)
    drawn = intervals([bare, look(one, 2, 0.02, 0.1)], "reward", ["control", "less"], NOW)
    assert "after 1 look" in drawn
    flat = intervals([look(one, 2, 0.0, 0.0)], "reward", ["control", "less"], NOW)
    assert "at last less 0.00 %, 0.00 % to 0.00 %" in flat
