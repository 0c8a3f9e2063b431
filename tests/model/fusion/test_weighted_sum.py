"""`weighted_sum` against rational arithmetic, and its bounds."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.fusion import PricedTask, WeightedSum, explain, score
from model.fusion.lengths import NoLength, PiecewiseLength, TableLength
from tests.support.properties import examples

TASKS = ("vtr", "shr")
prices = st.sampled_from([0.0, 1.0, -1.0, 1e6, -1e6]) | st.floats(-100, 100)
priced = st.builds(PricedTask, price=prices, price_per_s=prices, a=st.floats(-1, 1), b=st.floats(1e-3, 1e3))
# Factors that rational arithmetic has, too: values of a table, to a whole power.
lengths = st.one_of(
    st.builds(NoLength),
    st.builds(
        TableLength,
        edges_s=st.just((7.0, 30.0)),
        values=st.tuples(*[st.floats(0.01, 100)] * 3),
        weight=st.sampled_from([0.0, 1.0, 2.0, 3.0]),
        missing=st.floats(0.01, 100),
    ),
)
sums = st.builds(
    WeightedSum,
    tasks=st.fixed_dictionaries(dict.fromkeys(TASKS, priced)),
    combine=st.sampled_from(["times", "plus"]),
    longest_s=st.floats(1, 1e4),
    missing_s=st.floats(0, 1e4),
    video_len=lengths,
)
candidates = st.lists(
    st.tuples(st.floats(0, 1), st.floats(0, 1), st.none() | st.floats(0, 1e5)), min_size=1, max_size=4
)


def scored(scene, rows):
    predictions = {task: np.array([row[place] for row in rows]) for place, task in enumerate(TASKS)}
    seconds = np.array([np.nan if row[2] is None else row[2] for row in rows])
    return score(scene, predictions, seconds).score


def exact(scene, row):
    """The score, and the sum of what its terms are made of: rounding is relative to that."""
    seconds = scene.missing_s if row[2] is None else min(row[2], scene.longest_s)
    value = size = Fraction(0)
    for task, p in zip(TASKS, row, strict=False):
        term = scene.tasks[task]
        a, b = Fraction(term.a), Fraction(term.b) * Fraction(p)
        price, per_s = Fraction(term.price), Fraction(term.price_per_s) * Fraction(seconds)
        value += (price + per_s) * (a + b)
        size += (abs(price) + abs(per_s)) * (abs(a) + abs(b))
    length = scene.video_len
    if length.kind == "none":
        return value, size
    step = np.searchsorted(length.edges_s, np.inf if row[2] is None else row[2], side="right")
    f = Fraction(length.missing if row[2] is None else length.values[step])
    if scene.combine == "plus":
        return value + Fraction(length.weight) * f, size + Fraction(length.weight) * f
    return value * f ** int(length.weight), size * f ** int(length.weight)


@examples(60)
@given(sums, candidates)
def test_the_score_is_what_rational_arithmetic_gives(scene, rows):
    for found, row in zip(scored(scene, rows), rows, strict=True):
        value, size = exact(scene, row)
        assert abs(Fraction(float(found)) - value) <= size * Fraction(1, 2**48) + Fraction(1, 10**300)


def test_the_formula_by_hand():
    scene = WeightedSum(
        tasks={
            "vtr": PricedTask(price=0.5, price_per_s=0.25, a=0.125, b=2.0),
            "shr": PricedTask(price=16.0),
        },
        video_len=PiecewiseLength(points=((0.0, 0.5), (100.0, 0.5)), weight=2.0),
    )
    row = (0.25, 0.5, 10.0)
    value = (0.5 + 2.5) * (0.125 + 0.5) + 8.0
    assert scored(scene, [row]) == [value / 4]
    assert scored(scene.model_copy(update={"combine": "plus"}), [row]) == [value + 2.0 * 0.5]


def test_seconds_are_paid_up_to_the_longest_and_as_said_where_unknown():
    scene = WeightedSum(
        tasks={"vtr": PricedTask(price_per_s=1.0), "shr": PricedTask()}, longest_s=60.0, missing_s=8.0
    )
    assert scored(scene, [(1, 0, s) for s in (0.0, 59.5, 60.0, 1e9, None, -3.0)]).tolist() == [
        0, 59.5, 60, 60, 8, 0,
    ]  # fmt: skip


def test_a_task_without_a_price_is_left_out_even_where_its_line_is_not_0():
    scene = WeightedSum(tasks={"vtr": PricedTask(a=5.0), "shr": PricedTask(price=1.0)})
    assert scored(scene, [(np.nan, 0.5, None)]).tolist() == [0.5]


def test_with_times_each_term_holds_the_factor_and_the_length_has_none():
    scene = WeightedSum(
        tasks={"vtr": PricedTask(price=3.0), "shr": PricedTask(price=1.0)},
        video_len=TableLength(edges_s=(), values=(0.5,)),
    )
    told = explain(scene, {"vtr": np.ones(1), "shr": np.ones(1)}, np.ones(1))
    assert [float(part.term[0]) for part in told.tasks.values()] == [1.5, 0.5]
    assert (told.video_len.f, told.video_len.term) == (0.5, 0.0)
    plus = explain(
        scene.model_copy(update={"combine": "plus"}), {"vtr": np.ones(1), "shr": np.ones(1)}, np.ones(1)
    )
    assert [float(part.term[0]) for part in plus.tasks.values()] == [3.0, 1.0]
    assert plus.video_len.term == 0.5


HUGE = PiecewiseLength(points=((0.0, 1e308),), missing=1e308, weight=100.0)


@pytest.mark.parametrize("combine", ["times", "plus"])
@pytest.mark.parametrize("weight", [100.0, -100.0])
@pytest.mark.parametrize("price", [1e6, -1e6, 1e-300])
def test_nothing_overflows_or_turns_into_no_number(combine, weight, price):
    """Warnings are errors in tests, so neither does it warn."""
    tasks = {
        "vtr": PricedTask(price=price, price_per_s=1e6, a=1e6, b=1e6),
        "shr": PricedTask(price=price),  # of p = 0: 0 times the largest factor
    }
    scene = WeightedSum(
        tasks=tasks,
        combine=combine,
        longest_s=1e308,
        missing_s=1e308,
        video_len=HUGE.model_copy(update={"weight": weight}),
    )
    rows = [(p, q, s) for p in (0.0, 1.0) for q in (0.0, 1.0) for s in (0.0, 5e-324, 1e308, np.inf, None)]
    assert np.isfinite(scored(scene, rows)).all()


def test_what_exploring_draws_changes_both_prices_alike():
    scene = WeightedSum(
        tasks={
            "vtr": PricedTask(price=2.0, price_per_s=0.5),
            "shr": PricedTask(price_per_s=3.0),
            "cmr": PricedTask(),
        }
    )
    assert scene.parameters() == {"vtr": 2.0, "shr": 3.0}
    drawn = scene.with_parameters({"vtr": 3.0, "shr": -1.0}).tasks
    assert (drawn["vtr"].price, drawn["vtr"].price_per_s) == (3.0, 0.75)
    assert (drawn["shr"].price, drawn["shr"].price_per_s) == (0.0, -1.0)
    assert drawn["cmr"] == PricedTask()
    assert scene.with_parameters(scene.parameters()) == scene
