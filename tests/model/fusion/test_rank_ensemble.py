"""`rank_ensemble` against ranks counted one by one."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.fusion import RankEnsemble, RankTerm, explain, score
from model.fusion.formulas.rank_ensemble import ranks
from model.fusion.lengths import LogLength
from tests.support.properties import examples

few = st.sampled_from([-1.0, -0.0, 0.0, 0.25, 0.5, 1.0, np.inf, -np.inf, np.nan])
values = st.lists(st.tuples(few | st.floats(), st.integers(-1, 2)), max_size=12)


def counted(value, others):
    """The mean of the ranks that equal values share."""
    if np.isnan(value):
        return np.nan
    above = sum(other > value for other in others)
    equal = sum(other == value for other in others)
    return above + (equal + 1) / 2


@examples(100)
@given(values)
def test_ranks_are_what_counting_gives_in_each_list(rows):
    column = np.array([value for value, _ in rows], np.float64)
    lists = np.array([number for _, number in rows], np.int64)
    expected = [counted(value, [other for other, same in rows if same == number]) for value, number in rows]
    np.testing.assert_array_equal(ranks(column, lists), expected)
    np.testing.assert_array_equal(ranks(column), [counted(value, column) for value in column])


@pytest.mark.parametrize("k", [0.0, 60.0, 0.5])
def test_the_score_is_the_sum_of_weighted_reciprocal_ranks(k):
    scene = RankEnsemble(
        tasks={"vtr": RankTerm(weight=2.0), "shr": RankTerm(weight=-0.5)},
        k=k,
        video_len=LogLength(scale_s=10.0, weight=1.5),
    )
    predictions = {"shr": np.array([0.1, 0.1, 0.9]), "vtr": np.array([0.5, 0.25, 0.75])}
    found = score(scene, predictions, np.array([1.0, np.nan, 100.0])).score
    # f: .095, 1 for the unknown length, 2.398
    by_hand = [
        [("2", 2), ("-0.5", 2.5), ("1.5", 3)],
        [("2", 3), ("-0.5", 2.5), ("1.5", 2)],
        [("2", 1), ("-0.5", 1), ("1.5", 1)],
    ]
    for value, terms in zip(found, by_hand, strict=True):
        exact = sum(Fraction(weight) / (Fraction(k) + Fraction(rank)) for weight, rank in terms)
        assert value == pytest.approx(float(exact), rel=1e-15)


def test_lists_scored_together_score_as_each_alone():
    random = np.random.default_rng(3)
    scene = RankEnsemble(tasks={"vtr": RankTerm(weight=1.0), "shr": RankTerm(weight=0.3)})
    lists = random.integers(0, 40, 500)
    predictions = {task: random.integers(0, 9, 500) / 9 for task in ("vtr", "shr")}
    seconds = np.full(500, np.nan)
    together = score(scene, predictions, seconds, lists=lists).score
    told = explain(scene, predictions, seconds, lists=lists)
    assert told.fused.score.tobytes() == together.tobytes()
    for number in range(40):
        inside = lists == number
        alone = score(scene, {task: p[inside] for task, p in predictions.items()}, seconds[inside])
        assert alone.score.tobytes() == together[inside].tobytes()


def test_a_prediction_that_is_no_number_leaves_the_others_their_ranks():
    scene = RankEnsemble(tasks={"vtr": RankTerm(weight=1.0)}, k=0.0)
    found = score(scene, {"vtr": np.array([0.5, np.nan, 0.75])}, np.full(3, np.nan)).score
    np.testing.assert_array_equal(found, [0.5, np.nan, 1.0])


def test_no_candidates_have_no_ranks():
    assert ranks(np.zeros(0)).shape == ranks(np.zeros(0), np.zeros(0, np.int64)).shape == (0,)
