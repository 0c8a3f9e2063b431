import pytest

from model.errors import FulcrumError, checked
from model.experiments import Arm, Experiment, ExperimentError, Experiments, Layer

ARMS = [{"name": "control", "share": 5_000}, {"name": "treated", "share": 5_000, "revision": 2}]


def experiment(name="one", first=0, size=1_000, **more):
    return {"id": name, "layer": "fusion", "arms": ARMS, "first": first, "size": size, "ramp": size, **more}


def all_of(*experiments, holdout=0):
    layers = [{"name": "fusion", "salt": "a", "holdout": holdout}, {"name": "bundles", "salt": "b"}]
    return checked(Experiments, {"layers": layers, "experiments": list(experiments)}, "experiments")


def refused(*experiments, holdout=0):
    with pytest.raises(FulcrumError) as error:
        all_of(*experiments, holdout=holdout)
    return str(error.value)


def test_an_overlap_is_refused_with_the_names_of_both():
    message = refused(experiment("one"), experiment("two", first=999))
    assert "one holds buckets 0-999 and two 999-1998, which overlap" in message


def test_neighbours_stopped_experiments_and_other_layers_do_not_overlap():
    all_of(
        experiment("one"),
        experiment("two", first=1_000),
        experiment("three", state="stopped"),
        experiment("four", layer="bundles"),
    )


def test_an_experiment_cannot_hold_buckets_of_the_holdout():
    message = refused(experiment(first=9_000), holdout=500)
    assert "one holds buckets 9000-9999, of which those from 9500 on are its holdout" in message


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layer": "fusoin"}, "no layer 'fusoin'; there is fusion, bundles"),
        ({"arms": [ARMS[0], {**ARMS[1], "share": 4_000}]}, "(control 5000, treated 4000) sum to 9000"),
        ({"arms": [ARMS[0], ARMS[0]]}, "found 'control' twice"),
        ({"arms": [ARMS[0], {**ARMS[1], "patch": {}}]}, "found a revision and a patch"),
        ({"ramp": 1_001}, "ramp 1001 is more than the 1000 buckets"),
        ({"first": 9_001}, "buckets 9001-10000"),
        ({"overrides": {"u1": "treatde"}}, "'u1' gets 'treatde'; the arms are control, treated"),
        ({"start_ms": 5, "stop_ms": 5}, "stop_ms 5 is not after start_ms 5"),
        ({"when": {"video_len_s": 7}}, "video_len_s is a candidate's"),
    ],
)
def test_what_cannot_be_is_refused_in_words(change, said):
    assert said in refused(experiment(**change))


def test_layers_share_neither_names_nor_salts():
    layers = (Layer(name="one", salt="a"), Layer(name="two", salt="a"))
    with pytest.raises(ValueError, match="salts of layers: found 'a' twice"):
        Experiments(layers=layers)


def test_free_buckets_are_the_first_run_that_is_long_enough():
    known = all_of(experiment("one", first=0), experiment("two", first=1_500), holdout=100)
    assert known.free("fusion", 500) == 1_000
    assert known.free("fusion", 501) == 2_500
    assert known.free("bundles", 10_000) == 0


def test_where_no_run_is_long_enough_it_is_said_who_holds_what():
    known = all_of(experiment("one", first=0), experiment("two", first=1_500), holdout=100)
    with pytest.raises(
        ExperimentError, match=r"free are 1000-1499, 2500-9899, held are one 0-999, two 1500-2499"
    ):
        known.free("fusion", 8_000)


def test_a_ramp_only_adds():
    half = checked(Experiment, experiment(ramp=500))
    assert half.ramped(1_000).ramp == 1_000
    for ramp in (499, 1_001):
        with pytest.raises(ExperimentError, match="expected 500 to 1000: a ramp only adds units"):
            half.ramped(ramp)


def test_it_runs_from_its_start_until_its_stop():
    one = checked(Experiment, experiment(state="running", start_ms=10, stop_ms=20))
    assert [one.live_at(moment) for moment in (9, 10, 19, 20)] == [False, True, True, False]
    assert not one.model_copy(update={"state": "paused"}).live_at(15)


def test_an_arm_is_a_bundle_and_a_fusion():
    with pytest.raises(ValueError, match="pattern"):
        Arm(name="a", share=1, bundle="newest")
