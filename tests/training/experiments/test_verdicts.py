from dataclasses import replace

import numpy as np
import pytest

from model.experiments import Guardrail, Terms
from training.experiments import ArmSums, Look, judge

TERMS = Terms(
    primary="reward",
    guardrails=(Guardrail(metric="shares"), Guardrail(metric="errors", harm="rises")),
    days=14,
    planned_error=0.01,
)
UNITS = 2_000


def look(*, gain=0.0, shares=0.4, days=5.0, errors=10, third=False, **more):
    rng = np.random.default_rng(1)
    count = np.ones(UNITS)
    reward, shared = rng.gamma(9.0, 1 / 9.0, UNITS), (rng.random(UNITS) < 0.4) * 1.0
    arms = {
        "control": (reward, shared, 10),
        "treated": (rng.permutation(reward) * (1 + gain), (rng.random(UNITS) < shares) * 1.0, errors),
    } | ({"third": (rng.permutation(reward), shared, 10)} if third else {})
    found = Look(
        days=days,
        shares=dict.fromkeys(arms, 1 / len(arms)),
        metrics={
            "reward": {name: ArmSums(of[0], count) for name, of in arms.items()},
            "shares": {name: ArmSums(of[1], count) for name, of in arms.items()},
        },
        units=[UNITS] * len(arms),
        counts={"errors": {name: of[2] for name, of in arms.items()}},
    )
    return replace(found, **more)


def verdict(**of):
    found = judge(TERMS, look(**of))["treated"]
    return found.verdict, found.why


@pytest.mark.parametrize(
    ("of", "expected", "why"),
    [
        ({"gain": 0.05}, "better", "reward +5.00% [+"),
        ({"gain": -0.05}, "worse", "reward -5.00% [-"),
        ({"gain": 0.0}, None, "reward +0.00% [-"),
        ({"gain": 0.0, "days": 14.0}, "inconclusive", "after the 14 days that were planned"),
        ({"gain": 0.05, "shares": 0.2}, "worse", "guardrail shares: 0.5"),
        ({"gain": 0.05, "errors": 90}, "worse", "guardrail errors: 9 times"),
        (
            {"gain": 0.05, "units": [2_600, 2_000]},
            "inconclusive",
            "arms have 2,600, 2,000 units; expected 2,300",
        ),
        ({"gain": 0.05, "crossed": 50}, "inconclusive", "50 of 4,050 units were seen in several arms"),
    ],
)
def test_verdicts(of, expected, why):
    found, said = verdict(**of)
    assert found == expected
    assert why in said


def test_a_scene_whose_arms_are_off_is_named():
    scenes = {"default": [1_000, 1_000], "discover": [600, 300]}
    found, said = verdict(gain=0.05, units_by_scene=scenes)
    assert found == "inconclusive"
    assert said.startswith("discover: arms have")


def test_a_few_units_in_several_arms_are_borne():
    assert verdict(gain=0.05, crossed=2)[0] == "better"


def test_other_metrics_decide_nothing():
    found = judge(TERMS.model_copy(update={"guardrails": ()}), look(shares=0.2))["treated"]
    assert found.verdict is None
    assert found.differences["shares"][2] < 0.0


def test_more_arms_have_wider_intervals():
    two, three = judge(TERMS, look()), judge(TERMS, look(third=True))
    assert set(three) == {"treated", "third"}
    assert three["treated"].differences["reward"][1] < two["treated"].differences["reward"][1]


def test_what_is_not_known_yet_is_said_to_be_so():
    few = {name: ArmSums(np.ones(50), np.ones(50)) for name in ("control", "treated")}
    metrics = {**look().metrics, "reward": few}
    assert verdict(metrics=metrics) == (None, "reward: not known yet")
    assert verdict(metrics=metrics, days=14.0)[0] == "inconclusive"
