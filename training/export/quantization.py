"""Quantization: the lowered graph with its wide products in 8-bit integers. Knows neither torch nor quality.

    x ~ s_x (q - z),  W ~ s_w v   ->   W x + b ~ s_x s_w (v (q - z)) + b

q has 8 bits without a sign, v 8 with one and a scale s_w for each output; products add up exactly in 32 bits.
All scales are fixed here, by calibration (Jacob et al., CVPR 2018), and none spans the batch, so that a
candidate's numbers do not depend on its neighbours.

An x that is never negative, such as a hidden layer after ReLU, takes all 8 bits for what is positive (z = 0):
rounding then does what ReLU did. Any other x, such as embeddings beside numbers, has a scale for each column,
put into W (SmoothQuant, Xiao et al., ICML 2023, at full strength), since its columns differ by orders of
magnitude. In float32 stay gates, which are narrow; the last products before a prediction, whose error nothing
would dampen; and what is calculated once a user, which costs next to nothing and is part of every candidate.

Shapes: N rows, D columns of x, H outputs of a product.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, external_data_helper, helper, numpy_helper

from model.errors import FulcrumError
from training.export.graphs import constant, constants, drop_unread, make_node, plain_gemm, producers, rewrite

INT8 = "int8"
"""Name of the variant."""

_WIDE = 32
"""A product of fewer inputs or outputs gains too little."""

_MICROSOFT = "com.microsoft"
"""onnxruntime's own operators; MatMulIntegerToFloat is a product in integers with scales and bias."""

_LEAST = 1e-6
"""A column that is all zero needs some scale."""


@dataclass(frozen=True)
class ActivationRange:
    """What calibration saw of a value.

    Attributes:
        low: smallest of each column, [D].
        high: largest, [D].
    """

    low: npt.NDArray[np.float32]
    high: npt.NDArray[np.float32]

    def joined(self, other: ActivationRange) -> ActivationRange:
        """Of both."""
        return ActivationRange(np.minimum(self.low, other.low), np.maximum(self.high, other.high))


def open_graph(path: Path) -> ModelProto:
    """A network's graph with what it multiplies by; large tables stay in the file beside it, as they are."""
    model = onnx.load(path, load_external_data=False)
    tables = {node.input[0] for node in model.graph.node if node.op_type == "Gather"}
    for tensor in model.graph.initializer:
        if external_data_helper.uses_external_data(tensor) and tensor.name not in tables:
            external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
            tensor.data_location = TensorProto.DEFAULT
            del tensor.external_data[:]
    return model


def check_quantizable(model: ModelProto) -> None:
    """Refuse a graph without a product that is worth quantizing; reads no data."""
    if not _products(model.graph):
        raise FulcrumError(
            f"{INT8}: the network has no product of {_WIDE} inputs and outputs or more before its last ones; "
            "so small a network is as fast in float32"
        )


def observe(
    model: ModelProto,
    batches: Iterable[Mapping[str, npt.NDArray[np.generic]]],
    folder: Path,
    threads: int = 1,
) -> dict[str, ActivationRange]:
    """Run a float32 graph, and note what its wide products read.

    Args:
        model: as it is exported, lowered or not.
        batches: inputs by name, as onnxruntime takes them.
        folder: where the file of its large tables is; a file is written there, and taken away.
        threads: of one inference.

    Raises:
        FulcrumError: there is no product to quantize.
    """
    check_quantizable(model)
    watched = ModelProto()
    watched.CopyFrom(model)
    names = sorted({node.input[0] for node in _products(model.graph)})
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    path = folder / "observed.onnx"
    onnx.save_model(watched, str(path))
    try:
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    finally:
        path.unlink()
    seen: dict[str, ActivationRange] = {}
    for batch in batches:
        for name, value in zip(names, session.run(names, dict(batch)), strict=True):
            found = ActivationRange(value.min(axis=0), value.max(axis=0))
            seen[name] = seen[name].joined(found) if name in seen else found
    return seen


def quantize(model: ModelProto, ranges: Mapping[str, ActivationRange]) -> None:
    """Rewrite a float32 graph, in place.

    Args:
        model: the graph that was observed.
        ranges: what was observed.
    """
    graph = model.graph
    made_by, products = producers(graph), _products(graph)
    inputs = {name: _Input.of(graph, made_by, name, found) for name, found in ranges.items()}
    rounded: set[str] = set()
    in_place = {}
    for number, node in enumerate(products):
        read = inputs[node.input[0]]
        nodes = [] if read.name in rounded else list(read.nodes)
        rounded.add(read.name)
        in_place[node.output[0]] = [*nodes, *_product(graph, node, read, number)]
    rewrite(graph, in_place)
    drop_unread(graph)
    del graph.value_info[:]
    if all(entry.domain != _MICROSOFT for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))


def _products(graph: GraphProto) -> list[NodeProto]:
    """Wide linear layers on candidates' rows, but for those after which no other comes."""
    fixed = constants(graph)
    of_candidates = {value.name for value in graph.input if not value.name.startswith("user")}
    for node in graph.node:
        if not of_candidates.isdisjoint(node.input):
            of_candidates.update(node.output)

    def wide(node: NodeProto) -> bool:
        return (
            plain_gemm(node)
            and node.input[0] in of_candidates
            and node.input[1] in fixed
            and min(fixed[node.input[1]].dims) >= _WIDE
        )

    before_another: set[str] = set()
    found = []
    for node in reversed(graph.node):
        leads_on = not before_another.isdisjoint(node.output)
        if wide(node):
            if leads_on:
                found.append(node)
            leads_on = True
        if leads_on:
            before_another.update(node.input)
    return found[::-1]


@dataclass(frozen=True)
class _Input:
    """What a product reads, in 8 bits.

    Attributes:
        name: of the rounded value.
        scale, zero: names of s_x and z.
        columns: what W's columns are multiplied by, [D]; None where it is 1 for all.
        nodes: they round it.
    """

    name: str
    scale: str
    zero: str
    columns: npt.NDArray[np.float32] | None
    nodes: tuple[NodeProto, ...]

    @classmethod
    def of(
        cls, graph: GraphProto, made_by: Mapping[str, NodeProto], name: str, found: ActivationRange
    ) -> _Input:
        source = made_by.get(name)  # None for an input of the graph
        rounded, scale, zero = f"{name}.int8", f"{name}.scale", f"{name}.zero"
        if found.low.min() >= 0.0:
            constant(graph, scale, np.array(max(float(found.high.max()), _LEAST) / 255.0, np.float32))
            constant(graph, zero, np.zeros((), np.uint8))
            # What is negative rounds to 0.
            given = source.input[0] if source is not None and source.op_type == "Relu" else name
            return cls(rounded, scale, zero, None, (_rounding(given, scale, zero, rounded),))
        most = np.maximum(np.maximum(-found.low, found.high), _LEAST)
        columns: npt.NDArray[np.float32] = (most / 127.0).astype(np.float32)
        constant(graph, scale, np.ones((), np.float32))
        constant(graph, zero, np.full((), 128, np.uint8))
        scaled = make_node(
            "Mul", [name, constant(graph, f"{name}.stretch", 1.0 / columns)], [f"{name}.scaled"]
        )
        return cls(rounded, scale, zero, columns, (scaled, _rounding(scaled.output[0], scale, zero, rounded)))


def _rounding(name: str, scale: str, zero: str, rounded: str) -> NodeProto:
    return make_node("QuantizeLinear", [name, scale, zero], [rounded])


def _product(graph: GraphProto, node: NodeProto, read: _Input, number: int) -> list[NodeProto]:
    fixed = constants(graph)
    weight = numpy_helper.to_array(fixed[node.input[1]]).T  # [D, H]
    if read.columns is not None:
        weight = weight * read.columns[:, None]
    scales = np.maximum(np.abs(weight).max(axis=0), _LEAST).astype(np.float32) / np.float32(127.0)
    inputs = [
        read.name,
        constant(graph, f"int8.weight.{number}", np.rint(weight / scales).astype(np.int8)),
        read.scale,
        constant(graph, f"int8.scale.{number}", scales),
        read.zero,
        constant(graph, f"int8.zero.{number}", np.zeros(len(scales), np.int8)),
    ]
    bias = node.input[2] if len(node.input) > 2 else None
    if bias is None or bias in fixed:
        return [
            make_node(
                "MatMulIntegerToFloat", [*inputs, *([bias] if bias else [])], node.output, domain=_MICROSOFT
            )
        ]
    bare = f"{node.output[0]}.bare"
    return [
        make_node("MatMulIntegerToFloat", inputs, [bare], domain=_MICROSOFT),
        make_node("Add", [bare, bias], node.output),
    ]
