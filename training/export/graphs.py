"""Graphs: the few ways in which an ONNX graph is read and changed here. Knows nothing of networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper


def producers(graph: GraphProto) -> dict[str, NodeProto]:
    """The node that makes each value."""
    return {name: node for node in graph.node for name in node.output}


def constants(graph: GraphProto) -> dict[str, TensorProto]:
    """Constants by name."""
    return {tensor.name: tensor for tensor in graph.initializer}


def attribute(node: NodeProto, name: str, default: float) -> float:
    """An attribute, or what it is where it is left out."""
    return next((helper.get_attribute_value(own) for own in node.attribute if own.name == name), default)


def plain_gemm(node: NodeProto) -> bool:
    """Whether a node is x W^T + b and nothing else."""
    return node.op_type == "Gemm" and all(
        attribute(node, name, default) == value
        for name, default, value in (
            ("alpha", 1.0, 1.0),
            ("beta", 1.0, 1.0),
            ("transA", 0, 0),
            ("transB", 0, 1),
        )
    )


def make_node(kind: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> NodeProto:
    """A node, named after what it makes first."""
    return helper.make_node(kind, inputs, outputs, name=f"node_{outputs[0]}", **attributes)


def constant(graph: GraphProto, name: str, value: npt.NDArray[Any]) -> str:
    """Add a constant; its name."""
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name))
    return name


def rewrite(graph: GraphProto, in_place: Mapping[str, Sequence[NodeProto]]) -> None:
    """Put nodes in the place of those that make the named values first."""
    nodes = [new for node in graph.node for new in in_place.get(node.output[0], [node])]
    # Copied before the graph lets go of its own.
    kept = GraphProto(node=nodes)
    graph.ClearField("node")
    graph.node.extend(kept.node)


def drop_unread(graph: GraphProto) -> None:
    """Take out nodes, constants and shapes of values that nothing reads any more."""
    read = {value.name for value in graph.output}
    unread = {}
    for node in reversed(graph.node):
        if read.isdisjoint(node.output):
            unread[node.output[0]] = list[NodeProto]()
        else:
            read.update(node.input)
    rewrite(graph, unread)
    for values in (graph.initializer, graph.value_info):
        kept = [value for value in values if value.name in read]
        del values[:]
        values.extend(kept)
