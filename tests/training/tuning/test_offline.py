import numpy as np
import pytest

from model.bundle import load_bundle
from model.errors import FulcrumError
from training.tuning.offline import declared_looks, offline_outcomes

REWARD = "vtr + 10 * coalesce(shr, 0)"


def test_groups_of_a_log_hold_all_their_rows_with_what_came_of_them(trained):
    bundle = load_bundle(trained.bundle)
    outcomes = offline_outcomes(bundle, trained.data, "default", REWARD)
    requests = outcomes.requests
    assert len(outcomes) > 10
    np.testing.assert_array_equal(outcomes.at, np.arange(len(requests.item)))
    np.testing.assert_array_equal(np.diff(requests.shown_start), requests.sizes)
    shared = np.nan_to_num(outcomes.labels["shr"])
    np.testing.assert_allclose(outcomes.reward, outcomes.labels["vtr"] + 10.0 * shared)
    assert outcomes.configs == {}


def test_rows_that_judge_are_none_of_those_that_are_searched(trained):
    bundle = load_bundle(trained.bundle)
    name = bundle.schema.data.item
    first = offline_outcomes(bundle, trained.data, "default", REWARD, where=f"{name} % 2 = 0")
    others = offline_outcomes(bundle, trained.data, "default", REWARD, where=f"NOT ({name} % 2 = 0)")
    whole = offline_outcomes(bundle, trained.data, "default", REWARD)
    assert len(first.requests.item) + len(others.requests.item) <= len(whole.requests.item)
    assert min(len(first), len(others)) > 0


def test_an_unknown_reward_is_refused(trained):
    with pytest.raises(FulcrumError, match=r"unknown for [\d,]+ of .* write coalesce\(NAME, 0\)"):
        offline_outcomes(load_bundle(trained.bundle), trained.data, "default", "shr")


def test_looks_fall_by_a_share_from_place_to_place():
    np.testing.assert_allclose(declared_looks(3, 0.5).looks, [1.0, 0.5, 0.25])
    assert declared_looks(2).looks[1] == pytest.approx(0.9)
    with pytest.raises(FulcrumError, match="--examination 0: expected a share above 0"):
        declared_looks(3, 0.0)
