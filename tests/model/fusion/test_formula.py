"""The laws of the formula, and its numbers against arithmetic with a hundred digits."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from model.fusion import (
    FusionError,
    LogPower,
    TaskTerm,
    duration_factor,
    explain,
    score,
    top_k,
)
from model.fusion.lengths import LogLength, LognormalLength, NoLength, SigmoidLength
from tests.support.properties import examples

TASKS = ("vtr", "vcr", "shr", "cmr")
EXTREMES = (0.0, 5e-324, 2.2e-308, 1e-300, 1e-45, 1e-12, 1e-6, 0.5, 1 - 2**-53, 1.0)

probabilities = st.sampled_from(EXTREMES) | st.floats(0, 1) | st.floats(0, 1, width=32)
weights = st.sampled_from([0.0, 1.0, -1.0, 100.0, -100.0]) | st.floats(-100, 100)
terms = st.builds(
    TaskTerm,
    weight=weights,
    smoothing=st.sampled_from([0.0, 1e-300, 1e-3]) | st.floats(0, 2),
    clip=st.sampled_from([(1e-6, 1.0), (5e-324, 1.0), (1e-4, 0.9)]),
)
lengths = st.one_of(
    st.builds(NoLength, weight=weights),
    st.builds(LogLength, scale_s=st.floats(1, 100), weight=weights, missing=st.floats(1e-3, 5)),
    st.builds(SigmoidLength, mid_s=st.floats(0, 100), width_s=st.floats(1, 50), weight=weights),
    st.builds(LognormalLength, mode_s=st.floats(1, 100), sigma=st.floats(0.1, 3), weight=weights),
)
scenes = st.builds(
    LogPower, tasks=st.dictionaries(st.sampled_from(TASKS), terms, max_size=4), video_len=lengths
)


@st.composite
def candidates(draw, most=12):
    """Predictions {task: p [N]} and video lengths [N], some of them unknown."""
    n = draw(st.integers(1, most))
    predictions = {task: draw(arrays(np.float64, n, elements=probabilities)) for task in TASKS}
    seconds = draw(arrays(np.float64, n, elements=st.just(float("nan")) | st.floats(0, 4000)))
    return predictions, seconds


def at(places, predictions, seconds):
    return {task: p[places] for task, p in predictions.items()}, seconds[places]


def same_bits(one, other):
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


@examples(40)
@given(scenes, candidates())
def test_explained_terms_add_up_to_the_log_score_exactly(scene, given_candidates):
    predictions, seconds = given_candidates
    told = explain(scene, predictions, seconds)
    assert list(told.tasks) == list(predictions)
    for n in range(len(seconds)):
        total = 0.0
        for part in (*told.tasks.values(), told.video_len):
            total += float(part.term[n])
        assert total == told.fused.log_score[n]
    fused = score(scene, predictions, seconds)
    assert same_bits(fused.log_score, told.fused.log_score)
    assert same_bits(fused.score, told.fused.score)


def test_an_explanation_shows_what_was_predicted_and_how_it_was_weighed():
    scene = LogPower(
        tasks={"vtr": TaskTerm(weight=2.0, smoothing=0.25, clip=(0.25, 1.0))},
        video_len=LogLength(scale_s=30.0, weight=0.5, missing=0.25),
    )
    told = explain(
        scene, {"shr": np.array([0.5]), "vtr": np.array([0.0], dtype=np.float32)}, np.array([np.nan])
    )
    assert (told.tasks["vtr"].p, told.tasks["vtr"].weight) == (0.0, 2.0)
    assert told.tasks["vtr"].p.dtype == np.float64
    assert told.tasks["vtr"].term == pytest.approx([2 * math.log(0.5)])
    assert (told.tasks["shr"].p, told.tasks["shr"].weight, told.tasks["shr"].term) == (0.5, 0.0, 0.0)
    assert (told.video_len.f, told.video_len.weight) == (0.25, 0.5)
    assert told.video_len.term == pytest.approx([0.5 * math.log(0.25)])
    assert told.fused.score == pytest.approx([0.25 * 0.5])


@examples(40)
@given(scenes, candidates(), st.randoms(use_true_random=False))
def test_permuting_candidates_permutes_the_scores_bit_for_bit(scene, given_candidates, random):
    predictions, seconds = given_candidates
    order = list(range(len(seconds)))
    random.shuffle(order)
    fused, shuffled = score(scene, predictions, seconds), score(scene, *at(order, predictions, seconds))
    assert same_bits(fused.log_score[order], shuffled.log_score)
    k = len(order)
    ranked = fused.log_score[top_k(fused.log_score, k)]
    assert same_bits(ranked, shuffled.log_score[top_k(shuffled.log_score, k)])


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9, 500])
def test_a_candidate_scores_the_same_alone_as_among_others(n):
    random = np.random.default_rng(7)
    predictions = {task: random.uniform(size=(n, 2))[:, 0] for task in TASKS}  # strided on purpose
    seconds = random.uniform(1, 600, size=n)
    tasks = {task: TaskTerm(weight=0.3, smoothing=0.01) for task in TASKS}
    for video_len in (
        LogLength(scale_s=30),
        SigmoidLength(mid_s=30, width_s=9),
        LognormalLength(mode_s=9, sigma=1),
    ):
        scene = LogPower(tasks=tasks, video_len=video_len)
        together = score(scene, predictions, seconds).log_score
        alone = [score(scene, *at([place], predictions, seconds)).log_score for place in range(n)]
        assert same_bits(together, np.concatenate(alone))


@examples(40)
@given(scenes, candidates(), st.sampled_from(TASKS))
def test_weight_zero_is_the_task_removed_bit_for_bit(scene, given_candidates, task):
    predictions, seconds = given_candidates
    silent = scene.model_copy(update={"tasks": {**scene.tasks, task: TaskTerm(weight=0.0, smoothing=0.5)}})
    kept = {name: term for name, term in scene.tasks.items() if name != task}
    removed = scene.model_copy(update={"tasks": kept})
    without = {name: p for name, p in predictions.items() if name != task}
    expected = score(removed, predictions, seconds).log_score
    assert same_bits(score(silent, predictions, seconds).log_score, expected)
    assert same_bits(score(removed, without, seconds).log_score, expected)
    nan = {**predictions, task: np.full(len(seconds), np.nan)}
    assert same_bits(score(silent, nan, seconds).log_score, expected)


@examples(40)
@given(scenes, candidates())
def test_weight_zero_of_the_video_length_is_kind_none(scene, given_candidates):
    silent = scene.model_copy(update={"video_len": LogLength(scale_s=30.0, weight=0.0, missing=0.1)})
    none = scene.model_copy(update={"video_len": NoLength()})
    assert same_bits(score(silent, *given_candidates).log_score, score(none, *given_candidates).log_score)


def scaled(scene, factor):
    tasks = {
        name: term.model_copy(update={"weight": term.weight * factor}) for name, term in scene.tasks.items()
    }
    video_len = scene.video_len.model_copy(update={"weight": scene.video_len.weight * factor})
    return scene.model_copy(update={"tasks": tasks, "video_len": video_len})


normal_weights = st.sampled_from([0.0, 1.0, -0.3]) | st.floats(1e-3, 10)
normal_scenes = st.builds(
    LogPower,
    tasks=st.dictionaries(st.sampled_from(TASKS), st.builds(TaskTerm, weight=normal_weights)),
    video_len=st.builds(LogLength, scale_s=st.just(30.0), weight=normal_weights),
)


@examples(40)
@given(normal_scenes, candidates(), st.integers(-20, 3))
def test_scaling_all_weights_by_a_power_of_two_keeps_the_order_exactly(scene, given_candidates, power):
    before = score(scene, *given_candidates).log_score
    after = score(scaled(scene, 2.0**power), *given_candidates).log_score
    assert same_bits(after, before * 2.0**power)
    assert top_k(after, 100).tolist() == top_k(before, 100).tolist()


@examples(40)
@given(normal_scenes, candidates(), st.floats(0.01, 10))
def test_scaling_all_weights_keeps_the_order_of_distinct_scores(scene, given_candidates, factor):
    before = score(scene, *given_candidates).log_score
    after = score(scaled(scene, factor), *given_candidates).log_score
    for one in range(len(before)):
        clearly_above = before[one] > before + 1e-9
        assert (after[one] > after[clearly_above]).all()


@examples(40)
@given(scenes, candidates(), st.sampled_from(TASKS), st.integers(0, 11), st.floats(0, 1, width=32))
def test_raising_a_prediction_with_positive_weight_never_lowers_the_rank(scene, drawn, task, place, higher):
    # As the network gives them: float32, so that two of them differ by more than the rounding of a logarithm.
    predictions = {name: p.astype(np.float32) for name, p in drawn[0].items()}
    place %= len(drawn[1])
    term = scene.tasks.get(task, TaskTerm(weight=1.0))
    positive = term.model_copy(update={"weight": abs(term.weight)})
    scene = scene.model_copy(update={"tasks": {**scene.tasks, task: positive}})
    raised = {name: p.copy() for name, p in predictions.items()}
    raised[task][place] = max(higher, predictions[task][place])
    ranks = [
        top_k(score(scene, p, drawn[1]).log_score, 100).tolist().index(place) for p in (predictions, raised)
    ]
    assert ranks[1] <= ranks[0]


def exact_log_score(scene, predictions, seconds, n):
    """The log of the plain product of powers, in exact arithmetic; f as the config's float64 says."""
    product = mpmath.mpf(1)
    for name, term in scene.tasks.items():
        low, high = term.clip
        p = min(max(mpmath.mpf(float(predictions[name][n])), mpmath.mpf(low)), mpmath.mpf(high))
        product *= mpmath.power(p + mpmath.mpf(term.smoothing), mpmath.mpf(term.weight))
    f = mpmath.mpf(float(duration_factor(scene.video_len, seconds)[n]))
    return mpmath.log(product * mpmath.power(f, mpmath.mpf(scene.video_len.weight)))


def rounding_allowance(scene):
    """A few units in the last place of the largest terms possible here, where |log| stays below 750."""
    total = sum(abs(term.weight) for term in scene.tasks.values()) + abs(scene.video_len.weight)
    return 8 * 2.0**-52 * 750 * total + 1e-90


@examples(40)
@given(scenes, candidates(most=5))
def test_extreme_probabilities_agree_with_exact_arithmetic_and_so_does_their_order(scene, given_candidates):
    predictions, seconds = given_candidates
    fused = score(scene, predictions, seconds)
    allowed = rounding_allowance(scene)
    with mpmath.workdps(100):
        exact = [exact_log_score(scene, predictions, seconds, n) for n in range(len(seconds))]
        for n, value in enumerate(exact):
            assert abs(mpmath.mpf(float(fused.log_score[n])) - value) <= allowed
        for one, value in enumerate(exact):
            for other, lesser in enumerate(exact):
                if value > lesser + 2 * allowed:
                    assert fused.log_score[one] > fused.log_score[other]


@examples(30)
@given(st.permutations(EXTREMES), st.floats(1e-3, 100))
def test_unclipped_extremes_are_told_apart_down_to_the_denormals(p, weight):
    scene = LogPower(tasks={"vtr": TaskTerm(weight=weight, clip=(5e-324, 1.0))})
    log_score = score(scene, {"vtr": np.array(p)}, np.full(len(p), np.nan)).log_score
    # 0 is clipped to the smallest denormal, and ties with it; 1 - 2**-53 stays below 1.
    expected = sorted(range(len(p)), key=lambda n: (-max(p[n], 5e-324), n))
    assert top_k(log_score, len(p)).tolist() == expected


def test_the_score_is_finite_where_the_product_is_not():
    scene = LogPower(tasks={"vtr": TaskTerm(weight=-100.0)})
    fused = score(scene, {"vtr": np.array([0.0, 1.0])}, np.array([np.nan, 3.0]))
    assert fused.score.tolist() == [np.finfo(np.float64).max, 1.0]
    deep = score(scaled(scene, -1.0), {"vtr": np.array([0.0, 1.0])}, np.array([np.nan, 3.0]))
    assert deep.score.tolist() == [0.0, 1.0]
    assert deep.log_score[0] == pytest.approx(100 * math.log(1e-6)), (
        "the order survives where the product dies"
    )


def test_the_order_of_tasks_in_the_config_does_not_matter():
    random = np.random.default_rng(1)
    predictions = {task: random.uniform(size=50) for task in TASKS}
    tasks = {task: TaskTerm(weight=0.1 * place + 0.1) for place, task in enumerate(TASKS)}
    backwards = dict(reversed(tasks.items()))
    seconds = random.uniform(1, 60, size=50)
    one, other = (score(LogPower(tasks=order), predictions, seconds) for order in (tasks, backwards))
    assert same_bits(one.log_score, other.log_score)


def test_a_term_of_nothing_is_written_without_a_sign():
    scene = LogPower(tasks={"vtr": TaskTerm(weight=-1.0)}, video_len=NoLength(weight=-1.0))
    told = explain(scene, {"vtr": np.ones(1)}, np.ones(1))
    for term in (told.tasks["vtr"].term, told.video_len.term):
        assert math.copysign(1.0, term[0]) == 1.0


def test_no_candidates_have_no_scores():
    scene = LogPower(tasks={"vtr": TaskTerm(weight=1.0)})
    assert score(scene, {"vtr": np.empty(0)}, np.empty(0)).score.shape == (0,)


def test_predictions_are_left_as_they_were():
    p, seconds = np.array([0.0, 2.0]), np.array([np.nan, -1.0])
    score(LogPower(tasks={"vtr": TaskTerm(weight=1.0)}), {"vtr": p}, seconds)
    np.testing.assert_array_equal(p, [0.0, 2.0])
    np.testing.assert_array_equal(seconds, [np.nan, -1.0])


def test_a_nan_prediction_shows_in_its_own_score_alone():
    scene = LogPower(tasks={"vtr": TaskTerm(weight=1.0)})
    fused = score(scene, {"vtr": np.array([np.nan, 1.0])}, np.full(2, np.nan))
    assert np.isnan(fused.log_score).tolist() == np.isnan(fused.score).tolist() == [True, False]


def test_a_weighed_task_without_predictions_is_refused():
    scene = LogPower(tasks={"shr": TaskTerm(weight=1.0)})
    with pytest.raises(FusionError, match="no predictions for task 'shr'; there are vtr"):
        score(scene, {"vtr": np.zeros(2)}, np.zeros(2))


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1)])
def test_shapes_that_differ_are_refused_instead_of_broadcast(shape):
    scene = LogPower(tasks={"vtr": TaskTerm(weight=1.0)})
    with pytest.raises(ValueError, match=r"predictions of vtr have shape .*; expected \[N\]"):
        score(scene, {"vtr": np.zeros(shape)}, np.zeros(2))


@pytest.mark.parametrize("shape", [(2, 1), (1, 2), ()])
def test_shapes_that_are_no_list_of_candidates_are_refused_though_they_agree(shape):
    scene = LogPower(tasks={"vtr": TaskTerm(weight=1.0)})
    with pytest.raises(ValueError, match=r"predictions of vtr have shape .*; expected \[N\]"):
        score(scene, {"vtr": np.zeros(shape)}, np.zeros(shape))
