"""The reward model and examination, on logs whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.errors import FulcrumError
from model.fusion import parse_fusion
from tests.support.world_logs import WorldRequests, by_truth
from training.simulation import World, WorldConfig
from training.tuning.examination import looks_of
from training.tuning.outcomes import users_in_folds
from training.tuning.reward_model import FOLDS, Balance, cross_fitted, cross_fitted_of_shown, fitted

CONFIG = parse_fusion(
    """
    schema_version: 1
    scenes:
      default:
        tasks: {vtr: {weight: 0.5}, vcr: {weight: 0.5}, shr: {weight: 0.5, smoothing: 0.03}}
        explore: {share: 1.0, noise: 0.2}
    """
)
SLOTS = WorldConfig().slots


@pytest.fixture(scope="module")
def log():
    world = World.create(WorldConfig(users=600, items=900))
    return WorldRequests.of(world, 4_000, by_truth(0.3)).log(CONFIG, np.random.default_rng(0))


def test_a_reward_of_the_models_form_is_found_again(log):
    outcomes, requests = log.outcomes, log.outcomes.requests
    p = {task: values.astype(float) for task, values in requests.predictions.items()}
    seconds = np.minimum(requests.video_len_s, 600.0)
    looks = 0.9 ** np.arange(SLOTS)
    plain = 0.3 + 2.0 * p["vcr"] + 0.01 * seconds * p["vtr"]
    for worth, error, correlation in ((plain, 0.06, 0.99), (plain + 5.0 * p["vtr"] * p["shr"], 0.1, 0.98)):
        exact = replace(outcomes, reward=looks[outcomes.position] * worth[outcomes.at])
        for found in (cross_fitted(exact, looks), fitted(exact, looks).worth(requests)):
            assert np.abs(found - worth).mean() < error * worth.std()
            assert np.corrcoef(found, worth)[0, 1] > correlation


def test_a_users_own_rewards_say_nothing_about_the_worth_of_their_items(log):
    outcomes, looks = log.outcomes, np.ones(SLOTS)
    before = cross_fitted(outcomes, looks)
    user = outcomes.requests.user[0]
    theirs = outcomes.requests.user == user
    changed = replace(
        outcomes, reward=np.where(theirs[outcomes.of_request], outcomes.reward + 100.0, outcomes.reward)
    )
    after = cross_fitted(changed, looks)
    fold = users_in_folds(outcomes.requests.user, FOLDS)
    same = np.repeat(fold == fold[0], outcomes.requests.sizes)
    np.testing.assert_allclose(after[same], before[same], rtol=1e-6, atol=1e-6)
    assert np.abs(after[~same] - before[~same]).max() > 0.01


def test_of_items_shown_it_says_the_same_as_of_all_candidates(log):
    looks = 0.95 ** np.arange(SLOTS)
    whole = cross_fitted(log.outcomes, looks)
    np.testing.assert_allclose(cross_fitted_of_shown(log.outcomes, looks), whole[log.outcomes.at])


def test_weights_of_items_shown_stand_for_exposures_of_others(log):
    """What is worth what predictions say weighs as much by both, and a fit to the rewards says the same."""
    outcomes, requests, looks = log.outcomes, log.outcomes.requests, 0.95 ** np.arange(SLOTS)
    exposure = np.where(requests.predictions["cmr"] > 0.02, 0.5, 0.0)
    exposure[outcomes.at] = 0.0
    weights = Balance(outcomes, looks).weights(exposure)
    looked_at = looks[outcomes.position]
    for values in (np.ones(len(exposure)), *requests.predictions.values()):
        by_shown = (weights * looked_at * values[outcomes.at]).sum()
        assert by_shown == pytest.approx((exposure * values).sum(), rel=0.02)
    by_model = (exposure * fitted(outcomes, looks).worth(requests)).sum()
    assert (weights * outcomes.reward).sum() == pytest.approx(by_model, rel=1e-6)
    assert not Balance(outcomes, looks).weights(np.zeros(len(exposure))).any()


def test_its_values_are_near_the_truth_where_it_was_fitted(log):
    looks = looks_of(log.outcomes).looks
    worth = cross_fitted(log.outcomes, looks)
    at = log.outcomes.at
    assert np.corrcoef(worth[at], log.visits.worth[at])[0, 1] > 0.8
    assert worth[at].mean() == pytest.approx(log.visits.worth[at].mean(), rel=0.1)


def test_examination_is_modelled_as_viewers_look(log):
    found = looks_of(log.outcomes)
    patience = log.visits.world.viewers.patience[log.visits.viewer]
    truth = (patience[:, None] ** np.arange(SLOTS)).mean(axis=0)
    assert found.how == "modelled"
    assert (np.diff(found.looks) <= 0).all()
    assert found.looks[0] == 1.0
    np.testing.assert_allclose(found.looks, truth, atol=0.1)
    raw = np.bincount(log.outcomes.position, log.outcomes.reward)
    assert np.abs(found.looks - truth).max() < 0.5 * np.abs(raw / raw[0] - truth).max()


def test_examination_that_is_logged_or_declared_is_taken_as_it_is(log):
    outcomes = log.outcomes
    declared = looks_of(outcomes, 0.8)
    assert declared.how == "declared"
    np.testing.assert_allclose(declared.looks, 0.8 ** np.arange(SLOTS))
    seen = np.random.default_rng(1).random(len(outcomes.at)) < 0.9**outcomes.position
    logged = looks_of(replace(outcomes, seen=seen))
    assert logged.how == "logged"
    np.testing.assert_allclose(logged.looks, 0.9 ** np.arange(SLOTS), atol=0.04)
    with pytest.raises(FulcrumError, match="the log has `seen`"):
        looks_of(replace(outcomes, seen=seen), 0.8)
    for wrong in (0.0, 1.1, float("nan")):
        with pytest.raises(FulcrumError, match="expected a share above 0"):
            looks_of(outcomes, wrong)


def test_places_that_few_answers_have_do_not_count(log):
    outcomes = log.outcomes
    assert outcomes.usual() is outcomes
    requests = outcomes.requests
    short = np.arange(len(outcomes)) >= 0.05 * len(outcomes)  # which show four items
    kept = ~short[outcomes.of_request] | (outcomes.position < 4)
    sizes = np.bincount(outcomes.of_request[kept], minlength=len(outcomes))
    rare = replace(
        outcomes,
        requests=replace(requests, shown=requests.shown[kept], shown_start=np.append(0, np.cumsum(sizes))),
        at=outcomes.at[kept],
        position=outcomes.position[kept],
        reward=outcomes.reward[kept],
        labels={name: values[kept] for name, values in outcomes.labels.items()},
    )
    usual = rare.usual()
    assert (rare.slots, usual.slots) == (SLOTS, 4)
    assert (usual.requests.item[usual.at] == usual.requests.shown).all()
    assert (usual.position == rare.position[rare.position < 4]).all()
    assert len(usual.reward) == 4 * len(usual)
