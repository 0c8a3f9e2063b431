"""Gains: their intervals against a literal bootstrap, and against a truth that is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from training.metrics.resampling import percentiles, widening
from training.metrics.task_metrics import auc
from training.report.findings.gains import TaskRows, gain, two_levels


def _literal(kind, labels, users, ours, theirs, draws, value):
    """The same from the definition: rows repeated as often as their user is drawn."""
    distinct = np.unique(users)
    of_users, of_seeds = np.random.default_rng(2), np.random.default_rng(2)
    seeds = len(ours)
    differences = np.empty((draws, seeds))
    for place in range(draws):
        drawn = distinct[of_users.integers(0, len(distinct), len(distinct))]
        rows = np.concatenate([np.flatnonzero(users == user) for user in drawn])
        for seed in range(seeds):
            both = []
            for predicted in (ours[seed][rows], theirs[seed][rows]):
                truth = labels[rows]
                both.append(
                    auc(predicted, truth) if kind == "binary" else -float(np.mean((predicted - truth) ** 2))
                )
            differences[place, seed] = both[0] - both[1]
    taken = of_seeds.integers(0, seeds, (draws, seeds))
    classes = (labels > 0.5, labels <= 0.5) if kind == "binary" else (labels >= 0,)
    behind = min(len(np.unique(users[some])) for some in classes)
    found = []
    for place in range(draws):
        mean = differences[place].mean()
        resampled = np.mean([differences[place, seed] for seed in taken[place]])
        of_users = value + widening(behind) * (mean - value)
        found.append(of_users + widening(seeds) * (resampled - mean))
    return np.quantile(found, [0.025, 0.975], method="weibull")


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_intervals_are_those_of_the_definition(kind):
    random = np.random.default_rng(4)
    users = random.integers(0, 25, 200)
    labels = (random.random(200) < 0.4).astype(float) if kind == "binary" else random.random(200)
    ours = [0.5 * labels + random.normal(0, 0.4, 200) for _ in range(3)]
    theirs = [0.4 * labels + random.normal(0, 0.4, 200) for _ in range(3)]
    rows = TaskRows(kind, labels, users, draws=60)
    found = gain(rows, [rows.score(p) for p in ours], [rows.score(p) for p in theirs])
    literal = _literal(kind, labels, users, ours, theirs, 60, found.value)
    assert found.interval == pytest.approx(literal, abs=1e-12)
    by_hand = [
        auc(a, labels) - auc(b, labels)
        if kind == "binary"
        else np.mean((b - labels) ** 2) - np.mean((a - labels) ** 2)
        for a, b in zip(ours, theirs, strict=True)
    ]
    assert found.value == pytest.approx(np.mean(by_hand))
    assert found.by_seed == pytest.approx(by_hand)


@pytest.mark.slow
@pytest.mark.parametrize(("of_seeds", "of_users"), [(1.0, 0.1), (0.3, 1.0)])
@pytest.mark.parametrize("seeds", [3, 5])
def test_intervals_hold_the_truth_about_as_often_as_they_say(seeds, of_seeds, of_users):
    """A gain is the truth, plus its seed's luck, plus the luck of the users that all seeds share."""
    random = np.random.default_rng(100 * seeds + int(10 * of_seeds))
    truth, users, repeats, held = 0.7, 100, 400, 0
    for _ in range(repeats):
        luck = random.normal(0, of_seeds, seeds)
        by_user = random.normal(0, of_users * math.sqrt(users), users)
        drawn = np.stack([by_user[random.integers(0, users, users)].mean() for _ in range(200)])
        value = truth + by_user.mean() + luck.mean()
        low, high = percentiles(two_levels(truth + drawn[:, None] + luck[None, :], value, users))
        held += low <= truth <= high
    assert 0.90 <= held / repeats <= 0.995


def test_one_seed_counts_users_alone_and_few_users_give_no_interval():
    random = np.random.default_rng(1)
    labels, users = (random.random(300) < 0.5).astype(float), np.arange(300) % 40
    rows = TaskRows("binary", labels, users, draws=50)
    one = gain(rows, [rows.score(labels + random.normal(0, 1, 300))], [rows.score(random.random(300))])
    assert one.interval[0] < one.value < one.interval[1]
    assert one.verdict == "better"
    for rarer in (1.0, 0.0):
        for behind in (9, 10):
            split = TaskRows("binary", np.where(users < behind, rarer, 1 - rarer), users, draws=50)
            score = [split.score(random.random(300))]
            assert math.isnan(gain(split, score, score).interval[0]) == (behind < 10)
    few = TaskRows("binary", labels, np.arange(300) % 4, draws=50)
    scores = [few.score(random.random(300))]
    assert all(math.isnan(end) for end in gain(few, scores, scores).interval)
    assert gain(few, scores, scores).verdict == "undecided"


def test_widening_is_students_and_fades_with_seeds():
    assert widening(2) == pytest.approx(math.sqrt(2) * 12.706 / 1.96, rel=1e-3)
    assert widening(5) == pytest.approx(math.sqrt(5 / 4) * 2.776 / 1.96, rel=1e-3)
    assert widening(12) == pytest.approx(math.sqrt(12 / 11) * 2.201 / 1.96, rel=1e-3)
    assert widening(1000) == pytest.approx(1.0, abs=0.01)
