"""NDCG against its definition, with every order of tied scores written out."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.properties import examples
from training.metrics.ndcg import GroupedNdcg

# Few distinct scores and rewards, so that ties and worthless groups are common.
rows = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from([0.0, 0.0, 0.5, 1.0]), st.integers(0, 3)), max_size=12
)


def literal_ndcg(scores, rewards, k):
    """Averaged over all orders that the scores allow."""
    collected = []
    for order in itertools.permutations(range(len(scores))):
        if all(scores[first] >= scores[second] for first, second in itertools.pairwise(order)):
            gains = [rewards[row] / math.log2(rank + 2) for rank, row in enumerate(order[:k])]
            collected.append(sum(gains))
    ideal = sorted(rewards, reverse=True)[:k]
    return sum(collected) / len(collected) / sum(gain / math.log2(r + 2) for r, gain in enumerate(ideal))


@examples(60)
@given(rows, st.integers(1, 4))
def test_ndcg_is_the_share_of_the_best_orders_discounted_reward(rows, k):
    rows = [row for place, row in enumerate(rows) if sum(r[2] == row[2] for r in rows[:place]) < 5]
    scores, rewards, groups = (np.array([row[place] for row in rows], float) for place in range(3))
    expected, covered = [], 0
    for group in sorted(set(groups.tolist())):
        inside = groups == group
        if inside.sum() > 1 and rewards[inside].any():
            expected.append(literal_ndcg(scores[inside], rewards[inside], k))
            covered += int(inside.sum())
    ndcg = GroupedNdcg(rewards, groups.astype(np.int64), groups.astype(np.int64), k=k)
    np.testing.assert_allclose(ndcg.of(scores), expected)
    assert (ndcg.groups, ndcg.rows) == (len(expected), covered)
    assert ndcg.coverage == (covered / len(rows) if rows else 0.0)


def test_the_best_order_has_1_the_worst_less_than_chance():
    random = np.random.default_rng(1)
    rewards, groups = random.random(600), np.arange(600) // 6
    ndcg = GroupedNdcg(rewards, groups, groups)
    assert ndcg.of(rewards) == pytest.approx(1.0)
    assert ndcg.mean(ndcg.of(-rewards)) < ndcg.of_chance() < 1.0
    assert ndcg.of_chance() == pytest.approx(ndcg.mean(ndcg.of(random.random(600))), abs=0.02)


def test_ranks_beyond_k_collect_nothing():
    rewards = np.r_[np.zeros(10), 1.0]
    groups = np.zeros(11, np.int64)
    assert GroupedNdcg(rewards, groups, groups).of(-np.arange(11.0)) == 0.0
    assert GroupedNdcg(rewards, groups, groups, k=11).of(-np.arange(11.0)) == pytest.approx(1 / math.log2(12))


def test_the_gain_of_one_order_over_another_is_paired():
    random = np.random.default_rng(2)
    users = np.arange(3000) // 15
    groups = np.arange(3000) // 5
    drive = random.normal(size=3000)
    rewards = np.exp(drive)
    ndcg = GroupedNdcg(rewards, groups, users)
    good, less = drive + random.normal(0, 1, 3000), drive + random.normal(0, 1.4, 3000)
    found = ndcg.compare(ndcg.of(good), ndcg.of(less))
    assert found.verdict == "better"
    assert ndcg.compare(ndcg.of(less), ndcg.of(good)).verdict == "worse"
    assert found.difference == pytest.approx(ndcg.mean(ndcg.of(good)) - ndcg.mean(ndcg.of(less)))
    low, high = ndcg.interval(ndcg.of(good))
    assert low < ndcg.mean(ndcg.of(good)) < high
    # Three groups a user: the interval is that of 200 users' means, each of equal weight.
    by_user = ndcg.of(good).reshape(200, 3).mean(axis=1)
    assert high - low == pytest.approx(2 * 1.96 * by_user.std() / math.sqrt(200), rel=0.2)


def test_groups_of_several_users_or_of_too_few_have_no_interval():
    rewards, groups = np.tile([1.0, 0.0], 50), np.repeat(np.arange(50), 2)
    scores = np.random.default_rng(3).random(100)
    mixed = GroupedNdcg(rewards, groups, np.arange(100))
    assert np.isnan(mixed.interval(mixed.of(scores))).all()
    for users in (9, 10):
        few = GroupedNdcg(rewards, groups, groups % users)
        assert np.isnan(few.interval(few.of(scores))).all() == (users < 10)
    few = GroupedNdcg(rewards, groups, groups // 6)
    assert np.isnan(few.interval(few.of(scores))).all()
    assert few.compare(few.of(scores), few.of(-scores)).verdict == "undecided"


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
def test_a_group_with_a_score_that_is_not_a_number_has_no_order(order):
    rewards, groups = np.tile([1.0, 0.5, 0.0], 20), np.repeat(np.arange(20), 3)
    scores = np.where(np.arange(60) == 4, np.nan, rewards)
    ndcg = GroupedNdcg(rewards[order], groups[order], groups[order], k=2)
    values = ndcg.of(scores[order])
    assert np.isnan(values).tolist() == [group == 1 for group in range(20)]
    assert np.isnan([ndcg.mean(values), *ndcg.interval(values)]).all()
    compared = ndcg.compare(values, ndcg.of(-rewards[order]))
    assert np.isnan(compared.difference)
    assert compared.verdict == "undecided"


def test_an_interval_ends_at_1_and_that_of_a_difference_on_either_side_of_0():
    groups = np.arange(200) // 4
    rewards = np.tile([1.0, 0.5, 0.2, 0.0], 50)
    ndcg = GroupedNdcg(rewards, groups, np.arange(200) // 20)
    values, best = (ndcg.of(np.where(groups == 0, turn, 1.0) * rewards) for turn in (-1.0, 1.0))
    assert ndcg.interval(values)[1] == 1.0
    assert ndcg.compare(values, best).interval[0] < 0.0
    assert ndcg.compare(best, values).interval[1] > 0.0


def test_nothing_worth_ordering_is_nan():
    ndcg = GroupedNdcg(np.zeros(4), np.zeros(4, np.int64), np.arange(4))
    assert (ndcg.groups, ndcg.coverage) == (0, 0.0)
    assert np.isnan([ndcg.mean(ndcg.of(np.arange(4.0))), ndcg.of_chance(), *ndcg.interval(np.zeros(0))]).all()
