"""Top-k: the order of a stable sort, cut at k."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from model.fusion import top_k
from tests.support.properties import examples

# Few distinct values, so that ties straddle the cut.
scores = st.lists(
    st.sampled_from([-np.inf, -2.5, -0.0, 0.0, 1.0, 3.5]) | st.floats(allow_nan=False), max_size=30
)


@pytest.fixture(autouse=True, params=[0, 1_000], ids=["selected", "sorted"])
def few(request, monkeypatch):
    """Both ways to find the best."""
    monkeypatch.setattr("model.fusion.order._FEW", request.param)


def literal_order(log_score, k):
    return sorted(range(len(log_score)), key=lambda place: (-log_score[place], place))[:k]


@examples(50, HealthCheck.function_scoped_fixture)
@given(scores, st.integers(0, 35))
def test_the_best_come_first_and_ties_keep_input_order(log_score, k):
    chosen = top_k(np.array(log_score, dtype=np.float64), k)
    assert chosen.dtype == np.int64
    assert chosen.tolist() == literal_order(log_score, k)


@examples(50, HealthCheck.function_scoped_fixture)
@given(scores, st.integers(0, 35))
def test_top_k_begins_top_k_plus_one(log_score, k):
    array = np.array(log_score, dtype=np.float64)
    assert top_k(array, k + 1)[:k].tolist() == top_k(array, k).tolist()


@pytest.mark.parametrize("k", [1, 2, 40, 699, 1_999])
def test_of_many_candidates_the_best_are_those_of_the_whole_order(k):
    """So many that neither selecting nor sorting the selected is done by a method for short lists."""
    log_score = np.random.default_rng(5).integers(0, 300, 2_000).astype(np.float64)
    assert top_k(log_score, k).tolist() == literal_order(log_score, k)


def test_a_tie_across_the_cut_is_settled_by_input_order():
    assert top_k(np.array([1.0, 2.0, 1.0, 1.0, 0.0]), 3).tolist() == [1, 0, 2]


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_nan_comes_last_with_minus_infinity(k):
    assert top_k(np.array([np.nan, -np.inf, 1.0, np.nan]), k).tolist() == [2, 0, 1, 3][:k]


def test_the_scores_are_left_as_they_were():
    log_score = np.array([1.0, np.nan, 3.0])
    before = log_score.copy()
    top_k(log_score, 2)
    np.testing.assert_array_equal(log_score, before)


def test_a_negative_k_is_refused():
    with pytest.raises(ValueError, match="k is -1; expected 0 or more"):
        top_k(np.zeros(3), -1)
