"""Metrics against literal pair counting, and intervals that know that a user's rows belong together."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.metrics.resampling import Resamples, interval, interval_around
from training.metrics.task_metrics import (
    BinaryScorer,
    GroupedScorer,
    auc,
    finite,
    grouped_auc,
    logloss,
    task_metrics,
)

# Few distinct scores, so that ties are common.
rows = st.lists(st.tuples(st.integers(-2, 2), st.booleans(), st.integers(0, 3)), max_size=30)


def arrays(rows):
    scores, labels, groups = (np.array([row[place] for row in rows]) for place in range(3))
    return scores.astype(np.float32), labels.astype(np.float32), groups.astype(np.int64)


def literal_auc(scores, labels):
    """The share of (positive, negative) pairs in the right order; ties count half."""
    pairs = [
        1.0 if positive > negative else 0.5 if positive == negative else 0.0
        for positive, one in zip(scores, labels, strict=True)
        if one
        for negative, other in zip(scores, labels, strict=True)
        if not other
    ]
    return sum(pairs) / len(pairs) if pairs else math.nan


@given(rows)
def test_auc_counts_pairs(rows):
    scores, labels, _ = arrays(rows)
    assert auc(scores, labels) == pytest.approx(literal_auc(scores, labels), nan_ok=True)


@given(rows)
def test_auc_within_groups_counts_the_pairs_of_each_group(rows):
    scores, labels, groups = arrays(rows)
    judged = []
    for group in set(groups.tolist()):
        inside = groups == group
        area = literal_auc(scores[inside], labels[inside])
        if not math.isnan(area):
            judged.append((area, int(inside.sum())))
    total = sum(size for _, size in judged)
    expected = sum(area * size for area, size in judged) / total if judged else math.nan
    found = grouped_auc(scores, labels, groups)
    assert found.auc == pytest.approx(expected, nan_ok=True)
    assert found.groups == len(judged)
    assert found.coverage == (total / len(rows) if rows else 0.0)


@given(rows.filter(bool), st.data())
def test_a_rows_weight_is_a_number_of_copies(rows, data):
    scores, labels, _ = arrays(rows)
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows))))
    copied = auc(np.repeat(scores, weights), np.repeat(labels, weights))
    assert BinaryScorer(scores, labels).auc(weights) == pytest.approx(copied, nan_ok=True)


@given(rows.filter(bool), st.data())
def test_within_groups_too_a_rows_weight_is_a_number_of_copies(rows, data):
    scores, labels, groups = arrays(rows)
    weights = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(rows), max_size=len(rows))))
    copied = (np.repeat(column, weights) for column in (scores, labels, groups))
    expected = grouped_auc(*copied).auc
    assert GroupedScorer(scores, labels, groups).auc(weights) == pytest.approx(expected, nan_ok=True)


def test_draws_of_a_scorer_are_its_metric_under_the_drawn_users():
    random = np.random.default_rng(8)
    scores, labels, users = random.random(200).round(1), random.random(200) < 0.3, random.integers(0, 30, 200)
    resamples = Resamples(users, replicates=20)
    for groups in (users, random.integers(0, 4, 200)):
        scorer = GroupedScorer(scores, labels, groups)
        np.testing.assert_allclose(scorer.draws(resamples), resamples.draws(scorer.auc))
    pooled = BinaryScorer(scores, labels)
    np.testing.assert_allclose(pooled.draws(resamples), resamples.draws(pooled.auc))


def test_group_numbers_need_be_neither_dense_nor_sorted():
    scores, labels = np.array([0.1, 0.9, 0.8, 0.2]), np.array([0, 1, 0, 1])
    assert grouped_auc(scores, labels, np.array([900, -5, 900, -5])).groups == 0
    found = grouped_auc(scores, labels, np.array([900, 900, -5, -5]))
    assert (found.auc, found.groups, found.coverage) == (0.5, 2, 1.0)


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_metrics_of_a_score_that_is_not_a_number_are_not_numbers_in_any_order_of_the_rows(kind, order):
    random = np.random.default_rng(8)
    labels, users = (np.arange(240) >= 120).astype(np.float32), np.arange(240) % 20
    for scores in (np.full(240, np.nan), np.where(np.arange(240) == 30, np.nan, random.random(240))):
        rows = (scores.astype(np.float32)[order], labels[order], users[order], users[order])
        found = task_metrics(kind, *rows)
        judged = ("auc", "gauc", "logloss", "calibration") if kind == "binary" else ("mse", "calibration")
        for name in judged:
            assert math.isnan(found[name]), name
            assert np.isnan(found[f"{name}_interval"]).all(), name
            assert finite(found)[name] is None
            assert finite(found)[f"{name}_interval"] == [None, None]


def test_log_loss_is_the_mean_surprise_and_certain_mistakes_stay_finite():
    assert logloss(np.array([0.25, 0.25]), np.array([1, 0])) == pytest.approx(-math.log(0.25 * 0.75) / 2)
    assert 10 < logloss(np.array([0.0, 1.0], np.float32), np.array([1, 0])) < 20


def test_the_interval_of_a_mean_is_the_one_that_textbooks_give():
    values = np.random.default_rng(1).normal(5, 2, 2000)
    low, high = interval(lambda w: float((values * w).sum() / w.sum()), np.arange(2000))
    half = 1.96 * values.std() / math.sqrt(2000)
    assert low < values.mean() < high
    assert low == pytest.approx(values.mean() - half, abs=half / 4)
    assert high == pytest.approx(values.mean() + half, abs=half / 4)


def test_rows_of_one_user_are_no_further_evidence():
    """Each user's one row copied nine times tells nothing new; taken for independent it would seem to."""
    random = np.random.default_rng(2)
    labels = (random.random(300) < 0.4).astype(np.float32)
    scores = labels * 0.8 + random.normal(size=300)
    users = np.arange(300) * 7
    alone = interval(BinaryScorer(scores, labels).auc, users)
    copied = BinaryScorer(np.repeat(scores, 9), np.repeat(labels, 9))
    low, high = interval(copied.auc, np.repeat(users, 9))
    assert (low, high) == pytest.approx(alone)
    careless = interval(copied.auc, np.arange(2700))
    assert high - low > 2 * (careless[1] - careless[0])
    assert low < auc(scores, labels) < high


def test_an_interval_is_the_same_when_asked_again():
    values = np.random.default_rng(3).normal(size=50)
    assert len({interval(lambda w: float((values * w).sum()), np.arange(50)) for _ in range(2)}) == 1


def test_an_interval_of_nothing_is_nan():
    assert np.isnan(interval(lambda w: float(w.sum()), np.array([], np.int64))).all()
    assert np.isnan(interval(lambda w: math.nan, np.arange(3))).all()


def test_calibration_is_predicted_over_observed():
    labels, groups = np.array([1, 0, 0, 1], np.float32), np.zeros(4, np.int64)
    metrics = task_metrics("binary", np.full(4, 0.25, np.float32), labels, groups)
    assert metrics["calibration"] == 0.5
    assert (metrics["mean_label"], metrics["mean_prediction"]) == (0.5, 0.25)
    assert (metrics["rows"], metrics["positives"], metrics["auc"]) == (4, 2, 0.5)


def test_a_regression_is_judged_by_its_squared_error_beside_the_labels_variance():
    labels = np.tile(np.array([0.0, 1.0, 0.5], np.float32), 4)
    predictions, groups = np.tile(np.array([0.0, 0.5, 0.5], np.float32), 4), np.arange(12)
    metrics = task_metrics("regression", predictions, labels, groups, groups)
    assert metrics["mse"] == pytest.approx(0.25 / 3)
    assert metrics["variance"] == pytest.approx(1 / 6)
    assert metrics["mse_interval"][0] <= metrics["mse"] <= metrics["mse_interval"][1]
    assert "auc" not in metrics


def test_every_metric_of_a_task_has_an_interval_around_it():
    random = np.random.default_rng(9)
    predictions, users = random.random(600), np.arange(600) // 6
    labels = (random.random(600) < predictions).astype(np.float32)
    binary = task_metrics("binary", predictions, labels, users, users)
    for name in ("auc", "gauc", "logloss", "calibration"):
        low, high = binary[f"{name}_interval"]
        assert low < binary[name] < high
    # The same by weighing rows one draw at a time.
    resamples = Resamples(users)
    behind = resamples.behind(labels > 0.5, labels < 0.5)
    for name, statistic in (
        ("calibration", lambda w: float(w @ predictions / (w @ labels))),
        ("auc", BinaryScorer(predictions, labels).auc),
    ):
        draws = resamples.draws(statistic)
        assert binary[f"{name}_interval"] == pytest.approx(interval_around(binary[name], draws, behind))
    regression = task_metrics("regression", predictions, labels, users, users)
    for name in ("mse", "calibration"):
        low, high = regression[f"{name}_interval"]
        assert low < regression[name] < high


def test_an_interval_ends_where_the_metrics_values_do():
    """Widened for ten users, these would reach beyond."""
    users = np.repeat(np.arange(10), 20)
    labels = np.tile([0.0, 1.0], 100)
    scores = labels * 0.8 + 0.1
    scores[[1, 21]] = 0.05
    binary = task_metrics("binary", scores, labels, users, users)
    assert binary["auc_interval"][1] == binary["gauc_interval"][1] == 1.0
    wrong_of_one = np.where(users == 0, 1.0, 0.0)
    regression = task_metrics("regression", wrong_of_one, np.full(200, 0.025), users, users)
    assert regression["mse_interval"][0] == regression["calibration_interval"][0] == 0.0


@pytest.mark.parametrize("rarer", [1.0, 0.0])
def test_an_interval_that_nine_users_of_either_class_stand_behind_is_withheld(rarer):
    random = np.random.default_rng(10)
    predictions, users, alike = random.random(400), np.arange(400) % 40, np.zeros(400, np.int64)
    for behind in (9, 10):
        labels = np.where(users < behind, rarer, 1 - rarer).astype(np.float32)
        metrics = task_metrics("binary", predictions, labels, alike, users)
        for name in ("auc", "gauc", "logloss", "calibration"):
            assert np.isnan(metrics[f"{name}_interval"]).all() == (behind < 10), name
        found = GroupedScorer(predictions, labels, alike).interval(Resamples(users))
        assert np.isnan(found).all() == (behind < 10)
    # Within users there is nothing to order: each has one class.
    assert np.isnan(task_metrics("binary", predictions, labels, users, users)["gauc_interval"]).all()


def test_a_regressions_calibration_rests_on_users_with_a_label_that_is_not_0():
    """Its denominator is their labels: of few, draws without any would be left out."""
    random = np.random.default_rng(11)
    predictions, users = random.random(400), np.arange(400) % 40
    for behind in (9, 10):
        labels = np.where(users < behind, 0.5, 0.0).astype(np.float32)
        metrics = task_metrics("regression", predictions, labels, users, users)
        assert np.isnan(metrics["calibration_interval"]).all() == (behind < 10)
        assert np.isfinite(metrics["mse_interval"]).all()


@pytest.mark.parametrize("kind", ["binary", "regression"])
@pytest.mark.parametrize("labels", [[], [0.0], [0.0, 0.0], [1.0, 1.0, 1.0]])
def test_nothing_to_judge_is_nan_and_no_crash(kind, labels):
    rows = len(labels)
    numbers = np.arange(rows)
    metrics = task_metrics(
        kind, np.full(rows, 0.5, np.float32), np.array(labels, np.float32), numbers, numbers
    )
    assert metrics["rows"] == rows
    if kind == "binary":
        assert math.isnan(metrics["auc"])
        assert math.isnan(metrics["gauc"])
        assert np.isnan(metrics["auc_interval"]).all()
        assert metrics["gauc_coverage"] == 0.0
        assert math.isnan(metrics["logloss"]) == (not rows)
    else:
        assert math.isnan(metrics["mse"]) == (not rows)
    assert math.isnan(metrics["calibration"]) == (sum(labels) == 0)
