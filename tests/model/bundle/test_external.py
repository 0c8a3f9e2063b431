"""External data: every file that a graph takes weights from is found, wherever in the graph it is named."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from model.bundle.external import external_files


def found(tmp_path, content: bytes) -> set[str]:
    path = tmp_path / "network.onnx"
    path.write_bytes(content)
    with path.open("rb") as file:
        return external_files(file)


def outside(name: str, location: str) -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("offset", "0"), ("location", location), ("length", "16")):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


def constant(name: str, value: TensorProto):
    return helper.make_node("Constant", [], [name], value=value)


def model_of(nodes=(), initializers=(), **given) -> ModelProto:
    inside = numpy_helper.from_array(np.arange(1000, dtype=np.float32), "inside")
    graph = helper.make_graph(list(nodes), "g", [], [], [inside, *initializers])
    return helper.make_model(graph, **given)


def test_a_graph_that_holds_its_weights_names_no_file(tmp_path):
    assert (
        found(tmp_path, model_of([constant("c", numpy_helper.from_array(np.ones(3)))]).SerializeToString())
        == set()
    )


def test_files_are_found_in_initializers_nodes_subgraphs_sparse_tensors_and_functions(tmp_path):
    inner = helper.make_graph(
        [constant("d", outside("d", "subgraph"))], "inner", [], [], [outside("e", "inner")]
    )
    sparse = helper.make_sparse_tensor(outside("s", "sparse"), numpy_helper.from_array(np.arange(4)), [9])
    function = helper.make_function(
        "own", "f", [], ["c"], [constant("c", outside("c", "function"))], [helper.make_opsetid("", 17)]
    )
    nodes = [
        constant("c", outside("c", "node")),
        helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner),
    ]
    model = model_of(nodes, [outside("a", "initializer")], functions=[function])
    model.graph.sparse_initializer.append(sparse)
    assert found(tmp_path, model.SerializeToString()) == {
        "initializer",
        "node",
        "subgraph",
        "inner",
        "sparse",
        "function",
    }


def test_a_name_before_its_key_and_a_graph_in_two_parts_are_found_as_protobuf_reads_them(tmp_path):
    def field(number: int, content: bytes) -> bytes:
        size = len(content)
        return (
            bytes([number << 3 | 2, 0x80 | size & 0x7F, size >> 7]) + content
        )  # the size in more bytes than needed

    entry = field(2, b"elsewhere") + field(1, b"location")
    split = field(7, field(5, field(13, entry)))
    assert found(tmp_path, model_of().SerializeToString() + split) == {"elsewhere"}


@pytest.mark.parametrize("content", [b"\xff" * 40, b"\x3a\xff\x01", b"not a graph", b"\x3b"])
def test_what_is_no_graph_is_an_error(tmp_path, content):
    with pytest.raises(ValueError, match=r"damaged|ends"):
        found(tmp_path, content)
