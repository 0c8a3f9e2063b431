"""Looks as they are published."""

import pytest

from model.errors import FulcrumError, checked
from model.experiments import Arm, Experiments, Layer, LookReport


def test_a_look_is_the_same_after_json():
    look = LookReport(
        time_ms=5,
        days=1.5,
        mature_until_ms=None,
        units={"old": 7, "new": 9},
        metrics={"reward": {"old": {"value": 2.0}, "new": {"value": 2.1, "difference": 0.05, "low": -0.01}}},
        verdicts={"new": {"verdict": None, "why": "reward +5.00% [-1.00%, +11.00%]"}},
        next="a look in 10 minutes",
    )
    assert LookReport.model_validate_json(look.model_dump_json(), strict=True) == look


def test_names_are_short_since_every_answer_says_them():
    Arm(name="a" * 64, share=1)
    with pytest.raises(FulcrumError, match=r"name: .*64"):
        checked(Arm, {"name": "a" * 65, "share": 1})


def test_free_buckets_are_listed_by_run():
    experiments = Experiments(layers=(Layer(name="l", salt="s", holdout=100),))
    assert experiments.free_runs("l") == [(0, 9_899)]
    assert Experiments(layers=(Layer(name="l", salt="s"),)).free_runs("l") == [(0, 9_999)]
