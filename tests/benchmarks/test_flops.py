from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.serving.flops import flops_of


def test_products_are_counted_by_their_shapes_and_nothing_else_is(tmp_path: Path):
    # [N, 4] x [4, 6], a ReLU, Gemm with A transposed: [6, N] x [N, 3], and two at once: [5, 6] x [6, 3].
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "other"], ["crossed"], transA=1),
        helper.make_node("MatMul", ["batched", "crossed"], ["last"]),
    ]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in {"x": ["n", 4], "other": ["n", 3], "batched": [2, 5, 6]}.items()
    ]
    outputs = [helper.make_tensor_value_info("last", TensorProto.FLOAT, [2, 5, 3])]
    weights = [numpy_helper.from_array(np.ones((4, 6), np.float32), "first")]
    graph = helper.make_graph(nodes, "hand-made", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, str(tmp_path / "graph.onnx"))

    given = {
        "x": np.ones((7, 4), np.float32),
        "other": np.ones((7, 3), np.float32),
        "batched": np.ones((2, 5, 6), np.float32),
        "not in the graph": np.ones(1, np.float32),
    }
    expected = 2 * (7 * 4 * 6) + 2 * (6 * 7 * 3) + 2 * (2 * 5 * 6 * 3)
    assert flops_of(tmp_path / "graph.onnx", given) == expected
