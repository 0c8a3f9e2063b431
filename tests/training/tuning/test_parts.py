from dataclasses import replace

import numpy as np
import pytest

from model.errors import FulcrumError
from tests.support.tuning_problems import additive_problem
from training.tuning.parts import parted


@pytest.fixture(scope="module")
def outcomes():
    """8,000 requests of 2,000 users."""
    return additive_problem().outcomes


def test_no_user_is_in_both_parts_and_a_third_judge(outcomes):
    parts = parted(outcomes)
    searched, judging = (set(part.requests.user.tolist()) for part in (parts.search, parts.verdict))
    assert not searched & judging
    assert len(parts.search) + len(parts.verdict) == len(outcomes)
    assert len(parts.verdict) == pytest.approx(len(outcomes) / 3, rel=0.1)


@pytest.mark.parametrize(
    ("rows", "users", "configs", "least"),
    [(200, 2_000, {}, "100"), (8_000, 1, {}, "100"), (2_400, 2_000, {"v": None}, "1,000")],
)
def test_too_few_requests_or_users_judge_nothing(outcomes, rows, users, configs, least):
    few = outcomes.kept(np.arange(8_000) < rows)
    few = replace(few, requests=replace(few.requests, user=few.requests.user % users), configs=configs)
    with pytest.raises(
        FulcrumError, match=f"would judge what is found; expected {least} of 30 or more.*: log more"
    ):
        parted(few)
