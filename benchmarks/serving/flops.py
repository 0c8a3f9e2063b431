"""FLOPs of a graph's matrix products, counted from their shapes in one run of it. Knows no network.

Two for multiplying and adding. Products alone: what is added up or looked up beside them is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort

__all__ = ["flops_of"]

_PRODUCTS = ("MatMul", "Gemm")


def flops_of(path: Path, inputs: Mapping[str, npt.NDArray[np.generic]]) -> int:
    """Operations of all MatMul and Gemm nodes for these inputs; those that the graph lacks are ignored."""
    model = onnx.load(str(path))
    graph = model.graph
    products = [node for node in graph.node if node.op_type in _PRODUCTS]
    constants = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    wanted = {name for node in products for name in (node.input[0], node.output[0])} - constants.keys()
    del graph.output[:]
    graph.output.extend(
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in sorted(wanted)
    )
    options = ort.SessionOptions()
    # As it is written: optimization would fuse nodes and drop the outputs asked for.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    outputs = session.run(sorted(wanted), {name: inputs[name] for name in names})
    shapes = {name: array.shape for name, array in zip(sorted(wanted), outputs, strict=True)}
    shapes |= {name: given.shape for name, given in inputs.items()} | constants
    return sum(_operations(node, shapes) for node in products)


def _operations(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> int:
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    inner = shapes[node.input[0]][0 if transposed else -1]
    return 2 * inner * prod(shapes[node.output[0]])
