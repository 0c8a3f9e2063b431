import numpy as np
import pytest

from model.experiments import Arm, Assigner, Experiment, Experiments, Layer, arms_of

ARMS = (Arm(name="control", share=7_000), Arm(name="treated", share=3_000, revision=2))
LAYERS = (
    Layer(name="fusion", salt="salt of the fusion", holdout=1_000),
    Layer(name="bundles", salt="salt of the bundles"),
    Layer(name="sessions", salt="salt of sessions", unit="session"),
)
UNITS = [f"u{number}" for number in range(20_000)]


def experiment(name="one", layer="fusion", first=0, size=3_000, **more):
    settings = {"ramp": size, "state": "running", **more}
    return Experiment(id=name, layer=layer, arms=ARMS, first=first, size=size, **settings)


def labels(*experiments, unit="u1", session=None, scene="default", said=None, time_ms=0):
    assigner = Assigner(Experiments(layers=LAYERS, experiments=experiments))
    found = assigner.of({"user": unit, "session": session, "request": "r"}, scene, said or {}, time_ms)
    return [one.label for one in found]


def arms(one, layer=0):
    return arms_of(LAYERS[layer], one, UNITS)


INSIDE = UNITS[int(np.argmax(arms(experiment()) == 1))]
"""A unit that is treated in experiment `one` of the first layer."""


def test_buckets_and_arms_are_the_same_in_every_release():
    whole = experiment(size=9_000)
    assert arms(whole)[:12].tolist() == [-1, 0, 0, 1, 0, 0, 0, 0, 0, -1, 0, 0]


def test_a_request_has_the_arm_that_the_whole_population_says():
    two = (experiment("one"), experiment("two", first=3_000, size=2_000))
    names = {0: "control", 1: "treated"}
    expected = [
        [
            f"fusion/{one.id}:{names[arm]}"
            for one in two
            if (arm := int(arms_of(LAYERS[0], one, [unit])[0])) >= 0
        ]
        for unit in UNITS[:500]
    ]
    found = [
        [label for label in labels(*two, unit=unit) if label != "fusion/holdout"] for unit in UNITS[:500]
    ]
    assert found == expected
    assert max(map(len, found)) == 1


def test_units_are_dealt_by_the_shares():
    found = arms(experiment())
    assert np.mean(found >= 0) == pytest.approx(0.3, abs=0.015)
    assert np.mean(found[found >= 0]) == pytest.approx(0.3, abs=0.025)


def test_a_ramp_adds_units_and_moves_nobody():
    few, many = arms(experiment(ramp=500)), arms(experiment(ramp=3_000))
    assert 0 < (few >= 0).sum() < (many >= 0).sum()
    assert (many[few >= 0] == few[few >= 0]).all()


def test_who_is_treated_says_nothing_of_another_layer_nor_of_the_next_experiment():
    first = arms(experiment(size=9_000))
    inside = first >= 0
    for other in (arms(experiment("one", "bundles", size=9_000), 1), arms(experiment("next", size=9_000))):
        both = inside & (other >= 0)
        table = np.bincount(first[both] * 2 + other[both], minlength=4).reshape(2, 2)
        expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
        assert ((table - expected) ** 2 / expected).sum() < 10.8


def test_an_experiment_made_again_from_its_text_deals_alike():
    again = Experiment.model_validate_json(experiment().model_dump_json())
    assert (arms(again) == arms(experiment())).all()


def test_another_salt_deals_anew():
    other = arms_of(LAYERS[0].model_copy(update={"salt": "another"}), experiment(), UNITS)
    assert (other != arms(experiment())).mean() > 0.3


def test_held_out_units_are_named_and_in_no_experiment():
    held_out = [unit for unit in UNITS[:300] if labels(unit=unit) == ["fusion/holdout"]]
    assert 10 < len(held_out) < 60
    whole = experiment(size=9_000)
    assert {label for unit in held_out for label in labels(whole, unit=unit)} == {"fusion/holdout"}


@pytest.mark.parametrize(
    ("change", "request_"),
    [
        ({"scenes": ("discover",)}, {}),
        ({"when": {"tab": ["feed"]}}, {"said": {"tab": "other"}}),
        ({"when": {"tab": ["feed"]}}, {}),
        ({"state": "draft"}, {}),
        ({"state": "paused"}, {}),
        ({"state": "stopped"}, {}),
        ({"start_ms": 10}, {"time_ms": 9}),
        ({"stop_ms": 10}, {"time_ms": 10}),
    ],
)
def test_a_request_that_does_not_qualify_takes_no_part(change, request_):
    assert labels(experiment(**change), unit=INSIDE, **request_) == []


def test_a_request_that_qualifies_takes_part():
    one = experiment(scenes=("default",), when={"tab": ["feed"]}, start_ms=5, stop_ms=10)
    assert labels(one, unit=INSIDE, said={"tab": "feed"}, time_ms=7) == ["fusion/one:treated"]


def test_a_layer_of_sessions_takes_no_request_without_one():
    one = experiment(layer="sessions", size=10_000)
    assert labels(one, unit=INSIDE) == []
    assert [label.split(":")[0] for label in labels(one, unit=INSIDE, session="s1")] == ["sessions/one"]


def test_a_tester_gets_the_named_arm_and_it_shows():
    tested = {"overrides": {INSIDE: "control"}}
    assert labels(experiment(state="draft", **tested), unit=INSIDE) == ["fusion/one:control@override"]
    assert labels(experiment(**tested), unit=INSIDE) == ["fusion/one:control@override"]
    assert labels(experiment(state="paused", **tested), unit=INSIDE) == []
