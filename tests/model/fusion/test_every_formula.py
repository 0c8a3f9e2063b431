"""Laws that hold of every formula that this package scores itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.fusion import (
    Explore,
    FusionError,
    LogPower,
    PricedTask,
    RankEnsemble,
    RankTerm,
    TaskTerm,
    WeightedSum,
    explain,
    score,
)
from model.fusion.calibration import CalibratedSegment, Isotonic, Platt, TaskCalibration
from model.fusion.lengths import LogLength, LognormalLength, NoLength, SigmoidLength
from tests.support.properties import examples

TASKS = ("vtr", "vcr", "shr", "cmr")
weights = st.sampled_from([0.0, 1.0, -1.0, 100.0, -100.0]) | st.floats(-100, 100)
prices = st.sampled_from([0.0, 1e6, -1e6]) | st.floats(-1e3, 1e3)
maps = st.sampled_from(
    [Platt(a=-1.0, b=0.5), Platt(a=5.0, b=40.0), Isotonic(points=((0.0, 0.0), (0.3, 0.1), (1.0, 0.9)))]
)
calibrations = st.builds(
    TaskCalibration,
    map=maps,
    segments=st.tuples(
        st.builds(CalibratedSegment, when=st.just({"video_len_s": {"from": 0.0, "below": 7.0}}), map=maps)
    ),
)
shared = {
    "video_len": st.one_of(
        st.builds(NoLength, weight=weights),
        st.builds(LogLength, scale_s=st.floats(1, 100), weight=weights, missing=st.floats(1e-3, 5)),
        st.builds(SigmoidLength, mid_s=st.floats(0, 100), width_s=st.floats(1, 50), weight=weights),
        st.builds(LognormalLength, mode_s=st.floats(1, 100), sigma=st.floats(0.1, 3), weight=weights),
    ),
    "calibration": st.none() | st.dictionaries(st.sampled_from(TASKS), calibrations, max_size=2),
    "explore": st.just(Explore(share=1.0, noise=0.5)),
}


def of_tasks(term):
    return st.dictionaries(st.sampled_from(TASKS), term, max_size=4)


products = st.builds(
    LogPower,
    tasks=of_tasks(st.builds(TaskTerm, weight=weights, smoothing=st.sampled_from([0.0, 1e-3]))),
    **shared,
)
sums = st.builds(
    WeightedSum,
    tasks=of_tasks(st.builds(PricedTask, price=prices, price_per_s=prices, a=prices)),
    combine=st.sampled_from(["times", "plus"]),
    **shared,
)
rankings = st.builds(
    RankEnsemble, tasks=of_tasks(st.builds(RankTerm, weight=weights)), k=st.floats(0, 100), **shared
)
scenes = (products | sums | rankings).flatmap(
    lambda scene: st.just(scene) | st.integers(0, 2**64 - 1).map(scene.explored)
)


@st.composite
def candidates(draw):
    n = draw(st.integers(1, 12))
    shares = st.sampled_from([0.0, 1.0, 0.5]) | st.floats(0, 1) | st.floats(0, 1, width=32)
    predictions = {task: draw(arrays(np.float64, n, elements=shares)) for task in TASKS}
    return predictions, draw(arrays(np.float64, n, elements=st.just(float("nan")) | st.floats(0, 4000)))


def at(rows, predictions, seconds):
    return {task: p[rows] for task, p in predictions.items()}, seconds[rows]


def same_bits(one, other):
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


@examples(60)
@given(scenes, candidates())
def test_explained_terms_add_up_to_what_the_order_goes_by_and_to_the_score_of_the_service(scene, given_rows):
    told, fused = explain(scene, *given_rows), score(scene, *given_rows)
    for n in range(len(given_rows[1])):
        total = 0.0
        for part in (*told.tasks.values(), told.video_len):
            total += float(part.term[n])
        assert total == told.fused.order[n]
    assert same_bits(told.fused.order, fused.order)
    assert same_bits(told.fused.score, fused.score)
    assert np.isfinite(fused.order).all()
    assert np.isfinite(fused.score).all()
    assert (fused.log_score is None) == (scene.formula != "log_power")


@examples(60)
@given(scenes, candidates(), st.randoms(use_true_random=False))
def test_candidates_in_another_order_have_the_same_scores(scene, given_rows, random):
    order = list(range(len(given_rows[1])))
    random.shuffle(order)
    whole, shuffled = score(scene, *given_rows), score(scene, *at(order, *given_rows))
    assert same_bits(whole.order[order], shuffled.order)


@examples(60)
@given(products | sums, candidates(), st.data())
def test_a_candidate_scores_the_same_whoever_stands_beside_it(scene, given_rows, data):
    some = data.draw(st.lists(st.integers(0, len(given_rows[1]) - 1), min_size=1, max_size=5))
    assert not scene.looks_at_the_list
    assert same_bits(score(scene, *given_rows).order[some], score(scene, *at(some, *given_rows)).order)


@pytest.mark.parametrize("n", [1, 3, 8, 500])
def test_scores_do_not_depend_on_how_the_numbers_lie_in_memory(n):
    random = np.random.default_rng(7)
    predictions = {task: random.uniform(size=(n, 3))[:, 1] for task in TASKS}
    seconds = random.uniform(1, 60, size=(n, 2))[:, 0]
    maps = {"vtr": TaskCalibration(map=Platt(a=-1.0, b=0.7)), "shr": TaskCalibration()}
    length = LogLength(scale_s=30, weight=0.7)
    priced = {task: PricedTask(price=1.0, price_per_s=0.1) for task in TASKS}
    for scene in (
        LogPower(tasks={task: TaskTerm(weight=0.3) for task in TASKS}, video_len=length, calibration=maps),
        WeightedSum(tasks=priced, video_len=length, calibration=maps),
    ):
        together = score(scene, predictions, seconds).order
        dense = {task: p.copy() for task, p in predictions.items()}
        assert same_bits(together, score(scene, dense, seconds.copy()).order)
        alone = [score(scene, *at([place], predictions, seconds)).order for place in range(n)]
        assert same_bits(together, np.concatenate(alone))


SIMPLE = [
    LogPower(tasks={"vtr": TaskTerm(weight=1.0), "shr": TaskTerm(weight=0.0)}),
    WeightedSum(tasks={"vtr": PricedTask(price=1.0), "shr": PricedTask()}),
    WeightedSum(
        tasks={"vtr": PricedTask(price=1.0), "shr": PricedTask()},
        video_len=LogLength(scale_s=1.0, weight=100.0),
        calibration={"vtr": TaskCalibration(), "shr": TaskCalibration()},
    ),
    RankEnsemble(tasks={"vtr": RankTerm(weight=1.0), "shr": RankTerm(weight=0.0)}),
]


@pytest.mark.parametrize("scene", SIMPLE, ids=lambda scene: scene.formula)
def test_a_prediction_that_is_no_number_shows_in_its_own_score_if_it_counts(scene):
    nan, seconds = np.array([np.nan, 1.0]), np.full(2, np.nan)
    found = score(scene, {"vtr": nan, "shr": np.ones(2)}, seconds)
    assert np.isnan(found.order).tolist() == np.isnan(found.score).tolist() == [True, False]
    silent = score(scene, {"vtr": np.ones(2), "shr": nan}, seconds)
    assert same_bits(silent.order, score(scene, {"vtr": np.ones(2), "shr": np.ones(2)}, seconds).order)


@pytest.mark.parametrize("scene", SIMPLE, ids=lambda scene: scene.formula)
def test_a_task_of_the_scene_without_predictions_is_refused(scene):
    with pytest.raises(FusionError, match="no predictions for task 'shr'; there are vtr"):
        score(scene, {"vtr": np.ones(1)}, np.ones(1))


@pytest.mark.parametrize("scene", SIMPLE, ids=lambda scene: scene.formula)
def test_no_candidates_have_no_scores(scene):
    nobody = {task: np.zeros(0) for task in TASKS}
    assert score(scene, nobody, np.zeros(0)).order.shape == (0,)
    assert explain(scene, nobody, np.zeros(0)).fused.score.shape == (0,)


@examples(40)
@given(products | sums | rankings, st.integers(0, 2**64 - 1))
def test_the_scene_with_its_own_parameters_is_itself(scene, hashed):
    kept = scene.with_parameters(scene.parameters())
    assert kept.weights == scene.weights
    assert kept.video_len == scene.video_len
    drawn = scene.explored(hashed)
    assert drawn.parameters().keys() == scene.parameters().keys()
    assert scene.with_parameters(drawn.parameters()).weights == drawn.weights
