"""Maps of predictions: their numbers, monotone whatever they are made of, and where each holds."""

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.fusion import LogPower, TaskTerm, explain
from model.fusion.calibration import CalibratedSegment, Isotonic, Platt, TaskCalibration
from tests.support.properties import examples

shares = st.sampled_from([0.0, 5e-324, 1e-310, 1e-12, 0.5, 1 - 2**-53, 1.0]) | st.floats(0, 1)
parameters = st.sampled_from([0.0, 1e308, -1e308]) | st.floats(-50, 50)
platts = st.builds(Platt, a=parameters, b=st.sampled_from([1e-300, 1e308]) | st.floats(1e-3, 50))


@st.composite
def isotonics(draw):
    places = sorted(draw(st.sets(shares, min_size=1, max_size=6)))
    values = sorted(draw(st.lists(shares, min_size=len(places), max_size=len(places))))
    return Isotonic(points=tuple(zip(places, values, strict=True)))


@examples(100)
@given(platts | isotonics(), st.lists(shares | st.floats(0, 1, width=32), min_size=1, max_size=20))
def test_a_map_keeps_the_order_and_stays_between_0_and_1(chosen, p):
    """Of float32 predictions, which are further apart than a logarithm's rounding."""
    mapped = chosen.apply(np.sort(np.array(p, np.float32)).astype(np.float64))
    assert ((mapped >= 0) & (mapped <= 1)).all()
    assert (np.diff(mapped) >= 0).all()


@given(isotonics(), shares)
def test_an_isotonic_map_is_a_straight_line_between_its_points(chosen, p):
    found = Fraction(float(chosen.apply(np.array([p]))[0]))
    points = [(Fraction(x), Fraction(y)) for x, y in chosen.points]
    at = min(max(Fraction(p), points[0][0]), points[-1][0])
    exact = points[0][1]
    for (x, y), (next_x, next_y) in pairwise(points):
        if x <= at <= next_x:
            exact = y + (at - x) / (next_x - x) * (next_y - y)
            break
    assert abs(found - exact) <= Fraction(1, 2**51)


@pytest.mark.parametrize(
    ("a", "b", "p", "expected"),
    [
        (0.0, 1.0, 0.3, 0.3),
        (0.0, 2.0, 0.25, 1 / 10),  # odds 1/3, squared 1/9
        (math.log(3.0), 1.0, 0.5, 0.75),
        (0.0, 1.0, 0.0, 1e-12),
        (0.0, 1.0, 1.0, 1 - 1e-12),
        (-1e308, 1e308, 1.0, 1.0),
        (-1e308, 1e308, 0.0, 0.0),
    ],
)
def test_platts_map_is_a_line_of_log_odds(a, b, p, expected):
    assert Platt(a=a, b=b).apply(np.array([p])) == pytest.approx([expected], rel=1e-12)


@pytest.mark.parametrize("chosen", [Platt(a=-1.0, b=0.5), Isotonic(points=((0.0, 0.25), (1.0, 0.75)))])
def test_no_number_stays_no_number(chosen):
    calibration = TaskCalibration(map=chosen, segments=(segment(0.0, 10.0, 0.5),))
    found = calibration.apply(np.array([np.nan, np.nan, 0.5]), np.array([np.nan, 5.0, 50.0]))
    assert np.isnan(found).tolist() == [True, True, False]


def segment(low, high, value, **request):
    """A segment by length whose map gives one value."""
    when = {"video_len_s": {"from": low, "below": high}, **request}
    return CalibratedSegment(when=when, map=Isotonic(points=((0.5, value),)))


def test_the_first_segment_that_holds_counts_and_an_unknown_length_has_the_tasks_map():
    calibration = TaskCalibration(
        map=Isotonic(points=((0.0, 0.0625), (1.0, 0.0625))),
        segments=(segment(0, 10, 0.25), segment(5, 20, 0.5)),
    )
    seconds = np.array([0.0, 7.0, 9.99, 10.0, 19.0, 20.0, np.nan, -1.0])
    assert calibration.apply(np.full(8, 0.3), seconds).tolist() == [
        0.25, 0.25, 0.25, 0.5, 0.5, 0.0625, 0.0625, 0.0625,
    ]  # fmt: skip


def test_segments_of_other_requests_are_left_out_and_of_this_one_ask_for_the_length_alone():
    calibration = TaskCalibration(
        segments=(
            segment(0, 10, 0.25, tab="feed"),
            segment(0, 10, 0.5, tab="discover"),
            CalibratedSegment(when={"tab": ["discover"]}, map=Isotonic(points=((0.5, 0.75),))),
        )
    )
    p, seconds = np.full(2, 0.3), np.array([5.0, 50.0])
    assert calibration.of_request({"tab": "feed"}).apply(p, seconds) == pytest.approx([0.25, 0.3])
    assert calibration.of_request({"tab": "discover"}).apply(p, seconds).tolist() == [0.5, 0.75]
    assert calibration.of_request({}).segments == ()


def test_a_segment_that_asks_about_the_request_holds_nowhere_while_the_request_is_not_known():
    calibration = TaskCalibration(segments=(segment(0, 10, 0.25, tab="feed"),))
    assert calibration.apply(np.full(1, 0.3), np.array([5.0])) == pytest.approx([0.3])


def test_an_explanation_shows_the_prediction_and_what_it_means():
    scene = LogPower(
        tasks={"vtr": TaskTerm(weight=2.0), "shr": TaskTerm(weight=0.0)},
        calibration={
            "vtr": TaskCalibration(map=Isotonic(points=((0.0, 0.5), (1.0, 0.5)))),
            "shr": TaskCalibration(),
        },
    )
    p = np.array([0.25])
    told = explain(scene, {"vtr": p, "shr": p, "cmr": p}, np.array([np.nan]))
    assert (told.tasks["vtr"].p, told.tasks["vtr"].calibrated) == (0.25, 0.5)
    assert told.tasks["vtr"].term == pytest.approx([2 * math.log(0.5)])
    assert told.tasks["shr"].calibrated is None  # it does not count
    assert told.tasks["cmr"].calibrated is None
