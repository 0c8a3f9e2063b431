"""Which maps are worth having: planted ones are found, good predictions are left alone."""

from __future__ import annotations

import numpy as np
import pytest

from model.errors import FulcrumError
from model.fusion import FusionConfig, parse_fusion
from model.fusion.calibration import Platt
from model.schema.schema import BinaryTask, RegressionTask
from training.tuning.calibrating import LEAST_EVENTS, TaskMaps, chosen_tasks, fill, find_maps
from training.tuning.logged_predictions import Predicted

SHR = BinaryTask(name="shr", type="binary", label="x")
VCR = RegressionTask(name="vcr", type="regression", label="x")
SECONDS = RegressionTask(name="seconds", type="regression", label="x", bounds=(0.0, 60.0))


def log(n=12_000, seed=0, users=400, a=0.0, b=1.0, mean=0.1, short=None, tab=None):
    """Predictions of two tasks, of which outcomes follow Platt's map of them.

    Args:
        a, b: of the map.
        mean: of predictions.
        short: another map's a for videos below 7 s.
        tab: another map's a for the tab `friends`.
    """
    random = np.random.default_rng(seed)
    p = random.beta(2.0, 2.0 / mean - 2.0, n)
    seconds = np.where(random.random(n) < 0.1, np.nan, random.choice([3.0, 10.0, 50.0], n))
    tabs = random.choice(["feed", "friends"], n)
    q = Platt(a=a, b=b).apply(p)
    if short is not None:
        q = np.where(seconds < 7, Platt(a=short, b=b).apply(p), q)
    if tab is not None:
        q = np.where(tabs == "friends", Platt(a=tab, b=b).apply(p), q)
    shared = (random.random(n) < q).astype(float)
    watched = np.clip(random.beta(20 * q + 1e-3, 20 * (1 - q) + 1e-3), 0, 1)
    return Predicted(
        tasks=(SHR, VCR),
        predictions={"shr": p, "vcr": p},
        labels=np.stack([shared, watched], axis=1),
        masks=np.stack([random.random(n) < 0.9, np.ones(n, bool)], axis=1),
        users=random.integers(0, users, n),
        video_len_s=seconds,
        values=tabs.tolist(),
        source="made",
    )


@pytest.mark.parametrize("kind", ["auto", "platt", "isotonic"])
def test_planted_miscalibration_is_found_and_gone_on_held_out_users(kind):
    for one in find_maps(log(a=-0.6), [SHR, VCR], kind):
        whole = one.whole
        assert whole.map is not None
        assert (whole.loss.verdict, whole.reason) == ("better", "")
        before, after = whole.bias
        assert before["bias_interval"][0] > 0.01
        low, high = after["bias_interval"]
        assert low < 0 < high
        if kind == "platt":
            assert (whole.map.a, whole.map.b) == pytest.approx((-0.6, 1.0), abs=0.15)


def test_auto_takes_an_isotonic_map_where_no_line_of_log_odds_will_do():
    predicted = log(30_000)
    bent = np.where(predicted.predictions["vcr"] < 0.1, 0.02, 0.6)
    random = np.random.default_rng(1)
    predicted.labels[:, 1] = random.beta(20 * bent, 20 * (1 - bent))
    assert find_maps(predicted, [VCR])[0].whole.map.kind == "isotonic"
    assert find_maps(log(a=-0.6), [VCR])[0].whole.map.kind == "platt"


def test_good_predictions_are_left_alone():
    """20 logs of two tasks: by chance alone a map seems better in 2.5 % at most."""
    better = sum(
        one.calibration is not None
        for seed in range(20)
        for one in find_maps(log(2_000, seed, users=100), [SHR, VCR], "platt")
    )
    assert better <= 4  # of 40; more has a probability of .003


def test_a_segment_by_length_gets_a_map_of_its_own_where_it_needs_one():
    [found] = find_maps(log(30_000, short=-1.5), [SHR], "platt", "video_len")
    calibration = found.calibration
    assert calibration is not None
    assert {"video_len_s": {"below": 7.0}} in [segment.when for segment in calibration.segments]
    truth = log(30_000, seed=9, short=-1.5)
    inside = truth.masks[:, 0]
    p, y = truth.predictions["shr"][inside], truth.labels[inside, 0]
    mapped = calibration.apply(p, truth.video_len_s[inside])
    short = truth.video_len_s[inside] < 7
    assert p[short].mean() > y[short].mean() + 0.05
    for rows in (short, truth.video_len_s[inside] >= 7):
        assert mapped[rows].mean() == pytest.approx(y[rows].mean(), abs=0.012)


def test_a_segment_by_a_context_feature_holds_for_requests_that_say_so():
    [found] = find_maps(log(30_000, tab=-1.5), [SHR], "platt", "tab")
    calibration = found.calibration
    assert calibration is not None
    assert {"tab": ["friends"]} in [segment.when for segment in calibration.segments]
    p, unknown = np.array([0.2]), np.array([np.nan])
    friends, feed = (calibration.of_request({"tab": tab}).apply(p, unknown)[0] for tab in ("friends", "feed"))
    assert friends == pytest.approx(Platt(a=-1.5).apply(p)[0], abs=0.02)
    assert feed == pytest.approx(0.2, abs=0.03)


def test_a_segment_that_needs_none_keeps_the_tasks_map_and_so_does_one_of_few_events():
    predicted = log(a=-0.6)
    predicted.video_len_s[100:] = 10.0
    [found] = find_maps(predicted, [SHR], "platt", "video_len")
    assert found.whole.map is not None
    reasons = {tuple(one.when["video_len_s"].values()): (one.map, one.reason) for one in found.segments}
    assert reasons[(7.0, 15.0)] == (None, "nothing better")
    few = reasons[(7.0,)]
    assert few[0] is None
    assert few[1].startswith("too few events: ")
    assert found.calibration.segments == ()


def test_few_events_have_no_map():
    predicted = log(2_000, a=-3.0)
    predicted.labels[:, 0] = np.arange(2_000) < LEAST_EVENTS - 1
    predicted.masks[:, 0] = True
    whole = find_maps(predicted, [SHR])[0].whole
    assert (whole.map, whole.reason) == (None, f"too few events: {LEAST_EVENTS - 1}, expected {LEAST_EVENTS}")
    assert whole.before, "what there is, is shown"


def test_no_rows_of_a_task_have_no_map():
    predicted = log(500)
    predicted.masks[:, 0] = False
    [found] = find_maps(predicted, [SHR], "auto", "video_len")
    assert (found.calibration, found.whole.rows, found.whole.bias) == (None, 0, (None, None))


def test_few_users_prove_nothing():
    [found] = find_maps(log(a=-1.0, users=5), [SHR])
    assert (found.whole.map, found.whole.reason) == (None, "nothing better")


def test_a_second_run_finds_the_same():
    one, other = (find_maps(log(3_000, a=-0.5), [SHR, VCR], "auto", "tab") for _ in range(2))
    assert [each.report() for each in one] == [each.report() for each in other]


def test_all_probabilities_and_shares_are_taken_where_none_is_named():
    assert chosen_tasks([SHR, VCR, SECONDS], []) == [SHR, VCR]
    assert chosen_tasks([SHR, VCR, SECONDS], ["vcr"]) == [VCR]


@pytest.mark.parametrize(
    ("tasks", "names", "message"),
    [
        ([SHR, VCR], ["shar"], "--tasks: unknown task 'shar'; the bundle has shr, vcr"),
        (
            [SHR, SECONDS],
            ["seconds"],
            "--tasks: seconds is a quantity from 0 to 60; maps are of probabilities",
        ),
        ([SECONDS], [], "no task of the bundle is a probability or a share"),
    ],
)
def test_tasks_that_have_no_maps_are_refused_by_name(tasks, names, message):
    with pytest.raises(FulcrumError, match=message):
        chosen_tasks(tasks, names)


@pytest.mark.parametrize("values", [[None] * 500, list(range(500)), [[1]] * 500])
def test_a_feature_of_no_values_or_too_many_is_refused(values):
    predicted = log(500)
    with pytest.raises(
        FulcrumError, match=r"--by hour: it has \d+ values that conditions can name; expected 1"
    ):
        find_maps(Predicted(**{**vars(predicted), "values": values}), [SHR], "auto", "hour")


CONFIG = """
schema_version: 1
scenes:
  default: {tasks: {shr: {weight: 1}}, calibration: {shr: {}, vcr: {}}}
  sum: {formula: weighted_sum, tasks: {shr: {price: 1}, vcr: {price: 1}}}
  later: {formula: weighted_sum, tasks: {}, segments: [{name: a, when: {tab: 1}, tasks: {shr: {price: 1}}}]}
  ranks: {formula: rank_ensemble, tasks: {shr: {weight: 1}}}
  other: {tasks: {vcr: {weight: 1}}}
"""


@pytest.fixture(scope="module")
def found() -> list[TaskMaps]:
    """A map of shr, none of vcr."""
    predicted = log(4_000, a=-1.0)
    predicted.labels[:, 1] = predicted.predictions["vcr"]
    return find_maps(predicted, [SHR, VCR], "platt")


def calibrated(config: FusionConfig) -> dict[str, list[str]]:
    return {name: list(scene.calibration or ()) for name, scene in config.scenes.items()}


def test_maps_go_into_the_scenes_that_count_the_task(found):
    config, written = fill(parse_fusion(CONFIG), found)
    assert written == ["default", "sum", "later"]
    assert calibrated(config) == {
        "default": ["shr", "vcr"],
        "sum": ["shr"],
        "later": ["shr"],
        "ranks": [],
        "other": [],
    }
    assert config.scenes["default"].calibration["shr"] == found[0].calibration
    assert config.scenes["sum"].tasks == parse_fusion(CONFIG).scenes["sum"].tasks


def test_maps_go_into_the_scene_that_is_named_whatever_its_formula(found):
    config, written = fill(parse_fusion(CONFIG), found, "ranks")
    assert written == ["ranks"]
    assert calibrated(config)["sum"] == []


def test_a_scene_that_there_is_not_or_that_counts_no_such_task_is_refused(found):
    with pytest.raises(FulcrumError, match="--scene feed: the config has default, sum, later, ranks, other"):
        fill(parse_fusion(CONFIG), found, "feed")
    with pytest.raises(FulcrumError, match="scene other counts none of the tasks that have a map: shr; name"):
        fill(parse_fusion(CONFIG), found, "other")
