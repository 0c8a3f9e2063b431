"""Quantization: the equations it is made of, and that no row depends on another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from model.errors import FulcrumError
from model.network.trunk import Trunk
from tests.support import network_graphs
from tests.support.processor import exact_bytes
from training.export.quantization import Range, observe, open_graph, quantize

USER, ITEM, HIDDEN, LAST = 40, 48, 64, 32


def linear(name: str, read: str, wide: tuple[int, int], random) -> tuple[list, list]:
    outputs, inputs = wide
    weight = (random.normal(size=(outputs, inputs)) / np.sqrt(inputs)).astype(np.float32)
    bias = random.normal(size=outputs).astype(np.float32)
    constants = [numpy_helper.from_array(weight, f"{name}.w"), numpy_helper.from_array(bias, f"{name}.b")]
    return [helper.make_node("Gemm", [read, f"{name}.w", f"{name}.b"], [name], transB=1)], constants


def network(seed: int = 3, middle: int = HIDDEN) -> onnx.ModelProto:
    """item -> hidden -> ReLU -> last -> a number; beside it a gate of 4 and a layer on the user."""
    random = np.random.default_rng(seed)
    layers = [
        linear("on_user", "user_numeric", (HIDDEN, USER), random),
        linear("first", "item_numeric", (middle, ITEM), random),
        linear("second", "relu", (LAST, middle), random),
        linear("third", "relu2", (LAST, LAST), random),
        linear("gate", "item_numeric", (4, ITEM), random),
    ]
    relus = [helper.make_node("Relu", ["first"], ["relu"]), helper.make_node("Relu", ["second"], ["relu2"])]
    ends = [
        helper.make_node("ReduceSum", ["third", "axis"], ["vtr"], keepdims=0),
        helper.make_node("ReduceSum", ["gate", "axis"], ["vcr"], keepdims=0),
        helper.make_node("ReduceSum", ["on_user", "axis"], ["shr"], keepdims=0),
    ]
    by_name = {nodes[0].output[0]: nodes[0] for nodes, _ in layers}
    order = ("on_user", "first", "gate")
    nodes = [by_name[name] for name in order] + [
        relus[0],
        by_name["second"],
        relus[1],
        by_name["third"],
        *ends,
    ]
    floats = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "network",
        [
            helper.make_tensor_value_info("user_numeric", floats, ["users", USER]),
            helper.make_tensor_value_info("item_numeric", floats, ["rows", ITEM]),
        ],
        [helper.make_tensor_value_info(name, floats, [None]) for name in ("vtr", "vcr", "shr")],
        [
            *(each for _, constants in layers for each in constants),
            numpy_helper.from_array(np.ones(1, np.int64), "axis"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def rows(count: int, seed: int = 1) -> dict[str, np.ndarray]:
    """Columns whose sizes differ by a factor of a thousand."""
    random = np.random.default_rng(seed)
    sizes = np.logspace(-1.5, 1.5, ITEM)
    return {
        "user_numeric": random.normal(size=(1, USER)).astype(np.float32),
        "item_numeric": (random.normal(size=(count, ITEM)) * sizes).astype(np.float32),
    }


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray], *names: str) -> list[np.ndarray]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(list(names) or None, feeds)


def quantized(model: onnx.ModelProto, folder: Path) -> tuple[onnx.ModelProto, dict[str, Range]]:
    ranges = observe(model, [rows(300, seed) for seed in (5, 6)], folder)
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    quantize(copy, ranges)
    onnx.checker.check_model(copy)
    return copy, ranges


@exact_bytes
def test_the_graph_calculates_what_its_equations_say(tmp_path):
    model = network()
    whole, ranges = quantized(model, tmp_path)
    fixed = {
        tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in model.graph.initializer
    }

    def layer(name: str, x: np.ndarray, scale: np.ndarray, least: int) -> np.ndarray:
        rounded = np.clip(np.rint(x / scale), least, least + 255)
        weight = fixed[f"{name}.w"] * scale
        steps = np.abs(weight).max(axis=1, keepdims=True) / 127
        return rounded @ (np.rint(weight / steps) * steps).T + fixed[f"{name}.b"]

    seen = ranges["item_numeric"]
    columns = np.maximum(-seen.low, seen.high).astype(np.float64) / 127
    feeds = rows(50, seed=9)
    first = layer("first", feeds["item_numeric"].astype(np.float64), columns, -128)
    step = np.full(HIDDEN, ranges["relu"].high.max() / 255.0)
    second = layer("second", first, step, 0)
    expected = np.maximum(second, 0) @ fixed["third.w"].T + fixed["third.b"]
    found = run(whole, feeds, "vtr")[0]
    np.testing.assert_allclose(found, expected.sum(axis=1), rtol=0, atol=2e-3)


@exact_bytes
def test_it_is_close_to_float32_though_columns_differ_by_a_factor_of_a_thousand(tmp_path):
    model = network()
    whole, _ = quantized(model, tmp_path)
    feeds = rows(500, seed=9)
    exact, found = run(model, feeds, "vtr")[0], run(whole, feeds, "vtr")[0]
    assert 0 < np.std(found - exact) < 0.02 * np.std(exact)


def test_a_row_alone_gives_what_it_gives_among_others(tmp_path):
    whole, _ = quantized(network(), tmp_path)
    feeds = rows(64, seed=9)
    among = run(whole, feeds, "vtr")[0]
    for place in range(64):
        alone = run(whole, feeds | {"item_numeric": feeds["item_numeric"][place : place + 1]}, "vtr")[0]
        assert alone[0] == pytest.approx(among[place], abs=1e-5)
    louder = feeds["item_numeric"].copy()
    louder[1:] *= 100
    assert run(whole, feeds | {"item_numeric": louder}, "vtr")[0][0] == pytest.approx(among[0], abs=1e-5)


def test_gates_the_last_products_and_what_is_the_users_stay_in_float32(tmp_path):
    whole, _ = quantized(network(), tmp_path)
    kinds = {node.output[0]: node.op_type for node in whole.graph.node}
    assert {name for name, kind in kinds.items() if kind == "MatMulIntegerToFloat"} == {"first", "second"}
    assert {name for name, kind in kinds.items() if kind == "Gemm"} == {"third", "gate", "on_user"}
    assert not {"first.w", "second.w"} & {tensor.name for tensor in whole.graph.initializer}
    feeds = rows(20)
    for name in ("vcr", "shr"):
        np.testing.assert_allclose(run(whole, feeds, name)[0], run(network(), feeds, name)[0], atol=1e-5)


@exact_bytes
@pytest.mark.parametrize("model", sorted(Trunk.known))
def test_every_network_can_be_quantized_and_predicts_nearly_the_same(graphs, tmp_path, model):
    made = graphs(
        model, network_graphs.USER
    )  # said as in the lowering's tests, so that the graph is made once
    whole = onnx.ModelProto()
    whole.CopyFrom(made.lowered)
    quantize(whole, observe(whole, [network_graphs.feed(made.network, 300, 300)], tmp_path))
    assert any(node.op_type == "MatMulIntegerToFloat" for node in whole.graph.node)
    for users, candidates in ((1, 200), (200, 200)):
        given = network_graphs.feed(made.network, users, candidates)
        pairs = zip(network_graphs.run(made.lowered, given), network_graphs.run(whole, given), strict=True)
        for exact, found in pairs:
            assert np.std(found - exact) < 0.1 * np.std(exact)


def test_columns_that_calibration_saw_empty_and_values_beyond_it_give_numbers(tmp_path):
    model = network()
    calm = rows(100)
    calm["item_numeric"][:, 7] = 0.0
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    quantize(whole, observe(model, [calm], tmp_path))
    wild = rows(20, seed=2)
    wild["item_numeric"] *= 1e6
    assert np.isfinite(run(whole, wild, "vtr")[0]).all()


def test_a_network_without_wide_products_is_refused(tmp_path):
    with pytest.raises(
        FulcrumError, match="int8: the network has no product of 32 inputs and outputs or more"
    ):
        observe(network(middle=16), [rows(5)], tmp_path)
    assert not list(tmp_path.iterdir())


@exact_bytes
def test_large_tables_stay_in_the_file_beside_the_network(tmp_path):
    model = network()
    table = numpy_helper.from_array(
        np.random.default_rng(0).normal(size=(900, ITEM)).astype(np.float32), "table"
    )
    model.graph.initializer.append(table)
    model.graph.node.insert(0, helper.make_node("Gather", ["table", "item_ids"], ["looked_up"]))
    first = next(node for node in model.graph.node if node.output[0] == "first")
    first.input[0] = "looked_up"
    model.graph.input.append(helper.make_tensor_value_info("item_ids", TensorProto.INT64, ["rows"]))
    feeds = rows(40) | {"item_ids": np.arange(40) * 7}
    exact = run(model, feeds, "vtr")[0]
    onnx.save_model(
        model,
        str(tmp_path / "network.onnx"),
        save_as_external_data=True,
        location="network.onnx.data",
        size_threshold=1 << 10,
    )
    graph = open_graph(tmp_path / "network.onnx")
    quantize(graph, observe(graph, [feeds], tmp_path))
    onnx.save_model(graph, str(tmp_path / "network.int8.onnx"))
    assert (tmp_path / "network.int8.onnx").stat().st_size < 900 * ITEM * 4 / 3
    session = ort.InferenceSession(str(tmp_path / "network.int8.onnx"), providers=["CPUExecutionProvider"])
    found = session.run(["vtr"], feeds)[0]
    assert 0 < np.std(found - exact) < 0.02 * np.std(exact)
