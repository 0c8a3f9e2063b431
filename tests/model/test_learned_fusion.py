"""Networks of learned formulas: what may rank is opened and proven, what may not is refused by name."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from model import learned_fusion
from model.fusion import FusionError
from model.learned_fusion import LearnedNetwork, PaceError, prove
from tests.support.learned_networks import INPUTS, Graph, filled, monotone


def rows(count: int) -> np.ndarray:
    random = np.random.default_rng(3)
    p = random.uniform(size=(count, len(INPUTS))).astype(np.float32)
    p[:, -1] *= 300.0
    p[::5, -1] = np.nan
    return p


def proven(content: bytes) -> LearnedNetwork:
    network = LearnedNetwork(content, len(INPUTS))
    prove(network, INPUTS, 7)
    return network


@pytest.mark.parametrize("flaw", [None, "flat"])
def test_a_monotone_network_is_proven_and_scores_each_row_by_itself(flaw):
    network = proven(monotone(flaw=flaw))
    given = rows(503)
    together = network(given)
    assert together.shape == (503,)
    assert together.dtype == np.float32
    assert len(np.unique(together)) > 490
    alone = np.concatenate([network(given[place : place + 1]) for place in range(503)])
    np.testing.assert_allclose(alone, together, rtol=1e-6)
    np.testing.assert_allclose(network(given[::-1].copy())[::-1], together, rtol=1e-6)
    assert network(given[:0]).shape == (0,)


def stumps(count: int) -> bytes:
    """A sum of trees of one split each, as gradient boosting with monotone constraints makes them."""
    random, graph = np.random.default_rng(9), Graph()
    trees = np.repeat(np.arange(count), 3)
    leaves = [(tree, place) for tree in range(count) for place in (1, 2)]
    steps = random.uniform(size=(count, 2)).cumsum(axis=1)
    score = graph(
        "TreeEnsembleRegressor",
        ["x"],
        domain="ai.onnx.ml",
        nodes_treeids=trees.tolist(),
        nodes_nodeids=[0, 1, 2] * count,
        nodes_featureids=np.repeat(random.integers(0, len(INPUTS), count), 3).tolist(),
        nodes_values=np.repeat(random.uniform(size=count), 3).tolist(),
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"] * count,
        nodes_truenodeids=[1, 0, 0] * count,
        nodes_falsenodeids=[2, 0, 0] * count,
        nodes_missing_value_tracks_true=[1, 0, 0] * count,
        target_treeids=[tree for tree, _ in leaves],
        target_nodeids=[place for _, place in leaves],
        target_ids=[0] * len(leaves),
        target_weights=steps.ravel().tolist(),
        n_targets=1,
    )
    return graph.finish(score)


def test_trees_that_only_rise_are_proven():
    network = proven(stumps(50))
    assert len(np.unique(network(rows(100)))) > 10


def test_more_candidates_are_expected_to_take_longer():
    network = LearnedNetwork(monotone(width=256), len(INPUTS))
    assert 0.0 < network.expected_s(1) < network.expected_s(1000) < network.expected_s(10_000)


def looped() -> bytes:
    """Adds 0 a hundred times to the sum of the inputs."""
    same = [
        helper.make_node("Identity", ["going"], ["goes"]),
        helper.make_node("Identity", ["value"], ["next"]),
    ]
    body = helper.make_graph(
        same,
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("goes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    graph = Graph()
    total = graph("ReduceSum", [filled(graph), graph.constant([1], np.int64)], keepdims=0)
    return graph.finish(graph("Loop", [graph.constant(100, np.int64), "", total], body=body))


def outside() -> bytes:
    graph = Graph()
    weights = numpy_helper.from_array(np.ones((5, 1), np.float32), "weights")
    weights.ClearField("raw_data")
    weights.data_location = TensorProto.EXTERNAL
    entry = weights.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    graph._weights.append(weights)
    return graph.finish(graph("MatMul", ["x", "weights"]))


def summed(**given) -> bytes:
    graph = Graph()
    score = graph("ReduceSum", [graph("Cast", ["x"], to=TensorProto.FLOAT)], keepdims=0)
    return graph.finish(score, **given)


def doubled() -> bytes:
    graph = Graph()
    score = graph("ReduceSum", ["x", graph.constant([1], np.int64)], keepdims=0)
    return graph.finish(score, more=(graph("Identity", [score]),))


def failing() -> bytes:
    """Adds a column of seven."""
    graph = Graph()
    sums = graph("ReduceSum", [filled(graph), graph.constant([1], np.int64)], keepdims=1)
    return graph.finish(graph("Add", [sums, graph.constant(np.ones((7, 1)))]))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"half a file", "not an ONNX file"),
        (b"", "onnxruntime cannot load it"),
        (monotone(flaw="drop"), "not monotone: shr raised from "),
        (monotone(flaw="nan"), "is nan; expected a finite number"),
        (monotone(flaw="list"), "a score depends on other candidates"),
        (monotone(flaw="wide"), r"scores of shape \[1000, 2\]; expected \[N\] or \[N, 1\]"),
        (looped(), "it has a loop or a branch"),
        (outside(), "it takes weights from '/etc/passwd'"),
        (summed(columns=6), r"its input is tensor\(float\) \[N, 6\]; expected one of float32 \[N, 5\]"),
        (summed(rows=1), r"its input is tensor\(float\) \[1, 5\]"),
        (summed(given=TensorProto.DOUBLE), r"its input is tensor\(double\)"),
        (summed(), r"scores of shape \[\]; expected"),
        (doubled(), r"its outputs are tensor\(float\), tensor\(float\); expected one"),
        (failing(), "it fails on 1000 candidates"),
    ],
)
def test_what_may_not_rank_is_refused_in_one_line(content, says):
    with pytest.raises(FusionError, match=says) as refused:
        proven(content)
    assert "\n" not in str(refused.value)


def test_a_drop_is_named_with_the_prediction_its_values_and_the_scores():
    network = LearnedNetwork(monotone(flaw="drop"), len(INPUTS))
    said = []
    for _ in range(2):
        with pytest.raises(FusionError) as refused:
            prove(network, INPUTS, 7)
        said.append(str(refused.value))
    assert said[0] == said[1]
    number = r"(-?[\d.e-]+)"
    found = re.search(
        f"shr raised from {number} to {number} lowers the score from {number} to {number} ", said[0]
    )
    assert found is not None
    low, high, before, after = map(float, found.groups())
    assert 0.0 <= low < high <= 1.0
    assert before > after
    assert "(with vtr " in said[0]


def test_one_drop_among_the_raises_is_enough():
    """A step down for `cmr` between .4000 and .4004, which few raises cross and end in."""
    graph = Graph()
    sums = graph("ReduceSum", [filled(graph), graph.constant([1], np.int64)], keepdims=1)
    cmr = graph("Gather", ["x", graph.constant([INPUTS.index("cmr")], np.int64)], axis=1)
    inside = graph(
        "And",
        [graph("Greater", [cmr, graph.constant(0.4)]), graph("Less", [cmr, graph.constant(0.41)])],
    )
    score = graph("Sub", [sums, graph("Cast", [inside], to=TensorProto.FLOAT)])
    with pytest.raises(FusionError, match=r"cmr raised from \S+ to 0\.40"):
        proven(graph.finish(score))


def test_a_slow_network_is_refused_for_now(monkeypatch):
    network = LearnedNetwork(monotone(), len(INPUTS))
    monkeypatch.setattr(learned_fusion, "MOST_S_PER_1000", 0.0)
    with pytest.raises(PaceError, match="too slow: 1000 candidates take"):
        prove(network, INPUTS, 7)
