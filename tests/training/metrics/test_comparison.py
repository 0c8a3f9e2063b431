"""Paired comparison on planted data: the sign, how often it decides, and when it may not."""

from __future__ import annotations

import numpy as np
import pytest

from training.metrics.comparison import Difference, compare_task
from training.metrics.resampling import interval
from training.metrics.task_metrics import BinaryScorer, auc, grouped_auc, logloss


def world(random, users=150, rows=8, noise=(0.5, 0.5)):
    """Labels of a truth that users share, and two models that see it through noise of their own."""
    user = np.repeat(np.arange(users), rows)
    truth = random.normal(size=users)[user] + random.normal(size=users * rows)
    labels = (random.random(len(truth)) < 1 / (1 + np.exp(-truth))).astype(np.float32)
    ours, theirs = (1 / (1 + np.exp(-truth - random.normal(0, level, len(truth)))) for level in noise)
    return ours, theirs, labels, user


def test_values_are_the_metrics_and_differences_have_their_sign():
    ours, theirs, labels, user = world(np.random.default_rng(1), noise=(0.2, 1.5))
    found = compare_task("binary", ours, theirs, labels, user, user)
    assert list(found) == ["auc", "gauc", "logloss"]
    for name, metric in (("auc", auc), ("logloss", logloss)):
        assert found[name].value == pytest.approx(metric(ours, labels))
        assert found[name].other == pytest.approx(metric(theirs, labels))
    assert found["gauc"].value == grouped_auc(ours, labels, user).auc
    assert found["auc"].difference > 0 > found["logloss"].difference
    assert {each.verdict for each in found.values()} == {"better"}
    turned = compare_task("binary", theirs, ours, labels, user, user)
    assert {each.verdict for each in turned.values()} == {"worse"}
    for name in found:
        assert turned[name].difference == -found[name].difference
        assert turned[name].interval == pytest.approx((-found[name].interval[1], -found[name].interval[0]))


def test_a_regression_is_compared_by_squared_error():
    random = np.random.default_rng(2)
    user, truth = np.arange(600) // 4, random.random(600)
    near, far = truth + random.normal(0, 0.1, 600), truth + random.normal(0, 0.3, 600)
    found = compare_task("regression", near, far, truth.astype(np.float32), user, user)
    assert list(found) == ["mse"]
    assert found["mse"].difference == pytest.approx(np.mean((near - truth) ** 2 - (far - truth) ** 2))
    assert found["mse"].verdict == "better"


@pytest.mark.slow
def test_equal_models_are_told_apart_about_as_rarely_as_promised():
    """Of 40 pairs of equally noisy models, a 95 % interval decides about 2."""
    decided = {"auc": 0, "gauc": 0, "logloss": 0}
    for seed in range(40):
        ours, theirs, labels, user = world(np.random.default_rng(seed), users=50, rows=6)
        for name, found in compare_task("binary", ours, theirs, labels, user, user).items():
            decided[name] += found.verdict != "undecided"
    assert all(count <= 6 for count in decided.values()), decided


def test_pairing_sees_what_two_separate_intervals_do_not():
    random = np.random.default_rng(3)
    ours, _, labels, user = world(random, users=300)
    worse = 1 / (1 + np.exp(-np.log(ours / (1 - ours)) - random.normal(0, 0.5, len(ours))))
    found = compare_task("binary", ours, worse, labels, user, user)["auc"]
    assert found.verdict == "better"
    low, high = interval(BinaryScorer(ours, labels).auc, user)
    assert low < found.other < high  # the other lies within this one's own interval
    assert found.interval[1] - found.interval[0] < (high - low) / 2


def test_a_model_is_neither_better_nor_worse_than_itself():
    ours, _, labels, user = world(np.random.default_rng(4))
    for found in compare_task("binary", ours, ours, labels, user, user).values():
        assert (found.difference, found.interval, found.verdict) == (0.0, (0.0, 0.0), "undecided")


def test_a_model_whose_predictions_are_not_numbers_is_compared_by_no_number():
    ours, theirs, labels, user = world(np.random.default_rng(7))
    broken = np.where(np.arange(len(ours)) == 11, np.nan, ours)
    for kind in ("binary", "regression"):
        for pair in ((broken, theirs), (theirs, broken)):
            for found in compare_task(kind, *pair, labels, user, user).values():
                assert np.isnan([found.difference, *found.interval]).all()
                assert found.verdict == "undecided"


def test_a_handful_of_users_decides_nothing():
    """Nine users: each draw has the better model ahead, which is no evidence about the next nine."""
    ours, theirs, labels, user = world(np.random.default_rng(5), users=9, rows=200, noise=(0.1, 3.0))
    for found in compare_task("binary", ours, theirs, labels, user, user).values():
        assert found.verdict == "undecided"
        assert np.isnan(found.interval).all()
    assert compare_task("regression", ours, theirs, labels, user, user)["mse"].verdict == "undecided"


@pytest.mark.parametrize("rarer", [1.0, 0.0])
def test_nine_users_of_either_class_decide_nothing_and_ten_may(rarer):
    random = np.random.default_rng(8)
    user, alike = np.arange(400) % 40, np.zeros(400, np.int64)
    for behind in (9, 10):
        labels = np.where(user < behind, rarer, 1 - rarer).astype(np.float32)
        good, poor = (
            np.clip(labels * 0.6 + random.normal(0.2, noise, 400), 0.01, 0.99) for noise in (0.01, 1)
        )
        for found in compare_task("binary", good, poor, labels, alike, user).values():
            assert found.verdict == ("better" if behind == 10 else "undecided")
            assert np.isnan(found.interval).all() == (behind < 10)


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_or_no_rows_decide_nothing(label):
    for rows in (0, 50):
        ours, user = np.random.default_rng(6).random(rows), np.arange(rows)
        found = compare_task("binary", ours, ours / 2, np.full(rows, label), user, user)
        assert np.isnan(found["auc"].difference)
        assert {each.verdict for each in found.values()} == {"undecided"}


@pytest.mark.parametrize(
    ("interval", "higher_is_better", "verdict"),
    [
        ((0.1, 0.2), True, "better"),
        ((0.1, 0.2), False, "worse"),
        ((-0.2, -0.1), True, "worse"),
        ((-0.2, -0.1), False, "better"),
        ((-0.1, 0.1), True, "undecided"),
        ((0.0, 0.2), True, "undecided"),
        ((-0.2, 0.0), False, "undecided"),
        ((-0.2, 0.0), True, "undecided"),
        ((0.0, 0.2), False, "undecided"),
    ],
)
def test_an_interval_decides_only_when_it_excludes_0(interval, higher_is_better, verdict):
    found = Difference(0.5, 0.4, interval, higher_is_better)
    assert found.verdict == verdict
    assert found.report() == {
        "value": 0.5,
        "other": 0.4,
        "difference": pytest.approx(0.1),
        "interval": interval,
        "verdict": verdict,
    }
