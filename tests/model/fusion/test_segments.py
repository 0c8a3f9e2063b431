"""Segments and exploring: whose weights hold for a request, and what is left of the scene."""

import numpy as np
import pytest

from model.fusion import explain, parse_fusion, score

CONFIG = """
schema_version: 1
scenes:
  default:
    formula: {formula}
    tasks: {{vtr: {{{weight}: 1.0}}, shr: {{{weight}: 2.0}}}}
    video_len: {{kind: log, scale_s: 30.0, weight: 0.5}}
    calibration:
      shr:
        map: {{kind: platt, a: 0.0, b: 2.0}}
        segments:
          - {{when: {{tab: discover}}, map: {{kind: isotonic, points: [[0.5, 0.5]]}}}}
          - {{when: {{video_len_s: {{below: 7}}}}, map: {{kind: isotonic, points: [[0.5, 0.25]]}}}}
    segments:
      - name: evening
        when: {{tab: [feed, friends], hour: {{from: 18, below: 24}}}}
        tasks: {{shr: {{{weight}: 3.0}}}}
      - name: night
        when: {{hour: {{from: 18}}}}
        tasks: {{cmr: {{{weight}: 4.0}}}}
        video_len: {{weight: 0.0}}
    explore: {{share: 1.0, noise: 0.2}}
"""
FORMULAS = [("log_power", "weight"), ("weighted_sum", "price"), ("rank_ensemble", "weight")]


@pytest.fixture(params=FORMULAS, ids=lambda param: param[0])
def scene(request):
    formula, weight = request.param
    return parse_fusion(CONFIG.format(formula=formula, weight=weight)).scenes["default"]


def test_the_first_segment_that_holds_gives_the_weights(scene):
    held, name = scene.of_request({"tab": "feed", "hour": 20})
    assert (name, held.weights) == ("evening", {"vtr": 1.0, "shr": 3.0})
    assert held.video_len == scene.video_len
    held, name = scene.of_request({"tab": "other", "hour": 20})
    assert (name, held.weights) == ("night", {"vtr": 1.0, "shr": 2.0, "cmr": 4.0})
    assert (held.video_len.kind, held.video_len.weight) == ("log", 0.0)
    held, name = scene.of_request({"tab": "feed", "hour": 17})
    assert (name, held.weights, held.video_len) == (None, scene.weights, scene.video_len)


def test_a_request_that_does_not_say_has_the_scenes_weights(scene):
    for request in ({}, {"hour": None}, {"tab": "feed"}, {"hour": "late"}):
        held, name = scene.of_request(request)
        assert (name, held.weights) == (None, scene.weights)


def test_what_holds_for_a_request_asks_nothing_more_of_it(scene):
    held, _ = scene.of_request({"tab": "discover", "hour": 20})
    assert held.names_of_conditions() == set()
    assert held.of_request({}) == (held, None)
    assert scene.names_of_conditions() == {"tab", "hour"}


def test_what_is_explained_is_what_holds_for_the_request(scene):
    p = {"vtr": np.array([0.5, 0.25]), "shr": np.array([0.5, 0.25]), "cmr": np.array([0.1, 0.2])}
    seconds = np.array([5.0, 50.0])
    held, _ = scene.of_request({"tab": "other", "hour": 20})
    told = explain(held, p, seconds)
    assert {task: part.weight for task, part in told.tasks.items()} == held.weights
    assert told.tasks["shr"].calibrated == pytest.approx([0.25, 1 / 10])  # by length; Platt's map
    assert told.video_len.weight == 0.0
    assert told.fused.order.tobytes() == score(held, p, seconds).order.tobytes()
    discover = explain(scene.of_request({"tab": "discover"})[0], p, seconds)
    assert discover.tasks["shr"].calibrated.tolist() == [0.5, 0.5]


def test_exploring_disturbs_the_weights_that_hold_for_the_request(scene):
    held, _ = scene.of_request({"tab": "other", "hour": 20})
    assert held.parameters() == {"vtr": 1.0, "shr": 2.0, "cmr": 4.0}  # without the length, whose weight is 0
    drawn = held.explored(7)
    assert drawn is not None
    assert drawn.parameters().keys() == held.parameters().keys()
    assert drawn.parameters() != held.parameters()
    assert drawn.parameters() == held.explored(7).parameters()
    assert drawn.video_len.weight == 0.0


def test_segments_of_a_base_are_the_heirs_with_its_own_weights():
    base = CONFIG.format(formula="log_power", weight="weight")
    heir = "  feed: {base: default, tasks: {vtr: {weight: 9.0}}}\n"
    scene = parse_fusion(base + heir).scenes["feed"]
    held, name = scene.of_request({"tab": "feed", "hour": 20})
    assert (name, held.weights) == ("evening", {"vtr": 9.0, "shr": 3.0})
