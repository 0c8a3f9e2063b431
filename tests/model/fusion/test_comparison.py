"""Two orders: against definitions, written out, and published examples."""

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.fusion.comparison import Move, biggest_moves, compare_orders, orders, places, rbo, tau_b
from tests.support.properties import examples

NAN = math.nan
value = st.sampled_from([-math.inf, -1.0, 0.0, 0.5, 2.0, NAN])


@st.composite
def pairs_of_lists(draw):
    """Values of some requests of one length, twice."""
    requests, count = draw(st.integers(1, 4)), draw(st.integers(1, 9))
    numbers = st.lists(st.lists(value, min_size=count, max_size=count), min_size=requests, max_size=requests)
    return np.array(draw(numbers)), np.array(draw(numbers))


def literal_order(values):
    """Scored ones by value, then those without a score; ties by place in the input."""
    return sorted(range(len(values)), key=lambda at: (math.isnan(values[at]), -values[at], at))


def literal_tau(one, other, most):
    first, second = literal_order(one), literal_order(other)
    kept = sorted({*first[:most], *second[:most]})

    def sign(values, i, j):
        low, high = (-math.inf if math.isnan(values[k]) else values[k] for k in (i, j))
        if math.isnan(values[i]) != math.isnan(values[j]):
            return -1 if math.isnan(values[i]) else 1  # -inf is a score
        return int(low > high) - int(low < high)

    signs = [(sign(one, i, j), sign(other, i, j)) for i, j in combinations(kept, 2)]
    untied = sum(a != 0 for a, _ in signs) * sum(b != 0 for _, b in signs)
    return sum(a * b for a, b in signs) / math.sqrt(untied) if untied else NAN


def literal_rbo(one, other, p):
    first, second = literal_order(one), literal_order(other)
    count = len(one)
    agreement = [len({*first[:d]} & {*second[:d]}) / d for d in range(1, count + 1)]
    total = sum(a * p**d for d, a in enumerate(agreement, 1))
    return agreement[-1] * p**count + (1 - p) / p * total


@examples(150)
@given(pairs_of_lists(), st.integers(1, 4), st.integers(1, 4))
def test_all_measures_are_their_definitions(lists, top, most):
    before, after = lists
    found = compare_orders(before, after, top=top, most=most)
    for row, (one, other) in enumerate(zip(before, after, strict=True)):
        first, second = literal_order(one), literal_order(other)
        assert [first.index(at) for at in range(len(one))] == found.before[row].tolist()
        assert [second.index(at) for at in range(len(one))] == found.after[row].tolist()
        assert found.first_changed[row] == (first[0] != second[0])
        gone = len({*first[:top]} - {*second[:top]})
        assert found.top_changed[row] == pytest.approx(gone / min(top, len(one)))
        assert found.tau_b[row] == pytest.approx(literal_tau(one, other, most), nan_ok=True)
        assert found.rbo[row] == pytest.approx(literal_rbo(one, other, 0.9))


def test_long_lists_in_slices_are_their_definitions(monkeypatch):
    monkeypatch.setattr("model.fusion.comparison._AT_ONCE", 240)  # two requests at once
    random = np.random.default_rng(0)
    before = random.integers(0, 40, (7, 120)).astype(float)
    before[random.random(before.shape) < 0.1] = NAN
    after = before + random.normal(0, 5, before.shape).round()
    found = compare_orders(before, after)
    assert found.tau_b == pytest.approx([literal_tau(*pair, 50) for pair in zip(before, after, strict=True)])
    assert found.rbo == pytest.approx([literal_rbo(*pair, 0.9) for pair in zip(before, after, strict=True)])
    whole = tau_b(before, after)
    assert whole == pytest.approx([literal_tau(*pair, 120) for pair in zip(before, after, strict=True)])


def test_tau_b_of_a_published_example():
    # SciPy's manual, scipy.stats.kendalltau.
    one, other = np.array([[12.0, 2, 1, 12, 2]]), np.array([[1.0, 4, 7, 1, 0]])
    assert tau_b(one, other)[0] == pytest.approx(-0.4714045207910316)
    assert math.isnan(tau_b(np.zeros((1, 3)), np.arange(3.0)[None])[0])


def test_rbo_of_a_published_example():
    # The manual of rankmeasures (github.com/b4ny4n/rankmeasures): 1 2 3 4 5 and 2 3 4 1 5 at .9 are .828.
    before, after = np.array([[0, 1, 2, 3, 4]]), np.array([[3, 0, 1, 2, 4]])
    assert rbo(before, after)[0] == pytest.approx(0.828, abs=5e-7)
    assert rbo(before, before)[0] == pytest.approx(1.0)


def test_biggest_moves_name_candidates_and_their_places():
    before = places(orders(np.array([[5.0, 4, 3, 2, 1]])))[0]
    after = places(orders(np.array([[NAN, 4, 3, 2, 1]])))[0]
    assert biggest_moves(before, after, 2) == [Move(0, 0, 4), Move(1, 1, 0)]
    assert biggest_moves(before, before) == []


@pytest.mark.parametrize(
    ("before", "after", "settings"),
    [
        (np.zeros((1, 2)), np.zeros((1, 3)), {}),
        (np.zeros(2), np.zeros(2), {}),
        (np.zeros((2, 0)), np.zeros((2, 0)), {}),
        (np.zeros((1, 2)), np.zeros((1, 2)), {"top": 0}),
    ],
)
def test_what_cannot_be_compared_is_refused(before, after, settings):
    with pytest.raises(ValueError, match="expected"):
        compare_orders(before, after, **settings)


def test_no_requests_have_no_comparison():
    assert compare_orders(np.zeros((0, 3)), np.zeros((0, 3))).rbo.shape == (0,)
