"""Networks of learned formulas, for tests: a monotone one, and ways to be no good."""

from __future__ import annotations

import hashlib
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

__all__ = ["INPUTS", "Graph", "learned_config", "monotone", "write_learned"]

INPUTS = ("vtr", "vcr", "shr", "cmr", "video_len_s")


class Graph:
    """A graph in the making: `graph("Add", [a, b])` names a node's output, `constant` a value."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []

    def __call__(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, values: Any, kind: Any = np.float32) -> str:
        name = f"constant_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def finish(
        self,
        score: str,
        columns: int = len(INPUTS),
        rows: Any = "N",
        given: int = TensorProto.FLOAT,
        more: tuple[str, ...] = (),
    ) -> bytes:
        """The file: `x` [rows, columns] in, `score` out, and `more` outputs."""
        inputs = [helper.make_tensor_value_info("x", given, [rows, columns])]
        outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (score, *more)]
        graph = helper.make_graph(self._nodes, "score", inputs, outputs, self._weights)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        return bytes(model.SerializeToString())


def filled(graph: Graph) -> str:
    """The inputs with a length of 0 where it is unknown, in thousands of seconds."""
    unknown = graph("IsNaN", ["x"])
    known = graph("Where", [unknown, graph.constant(0.0), "x"])
    return graph("Mul", [known, graph.constant([1.0, 1.0, 1.0, 1.0, 1e-3])])


def monotone(seed: int = 0, flaw: str | None = None, width: int = 32) -> bytes:
    """A network of two hidden layers with weights that are not negative.

    Args:
        seed: of the weights.
        flaw: drop: `shr` lowers the score. nan: an unknown length makes it NaN. list: it depends on the other
            candidates. wide: a score of two columns. flat: none, but scores are [N].
        width: of the hidden layers.
    """
    random, graph = np.random.default_rng(seed), Graph()
    sizes = (len(INPUTS), width, width, 1)
    values = "x" if flaw == "nan" else filled(graph)
    for layer, (given, gives) in enumerate(pairwise(sizes)):
        weights = np.abs(random.normal(size=(given, gives))) / given
        if flaw == "drop" and layer == 0:
            weights[INPUTS.index("shr")] *= -1.0
        shift = random.normal(size=gives)
        values = graph("Gemm", [values, graph.constant(weights), graph.constant(shift)])
        values = graph("Relu", [values]) if gives > 1 else values
    if flaw == "list":
        values = graph("Sub", [values, graph("ReduceMean", [values], axes=[0], keepdims=1)])
    if flaw == "wide":
        values = graph("Concat", [values, values], axis=1)
    if flaw == "flat":
        values = graph("Squeeze", [values, graph.constant([1], np.int64)])
    return graph.finish(values)


def learned_config(content: bytes, **changes: Any) -> dict[str, Any]:
    """A config with a scene `learned` that this network ranks, and one for it to fall back to."""
    learned = {
        "formula": "model",
        "file": "score.onnx",
        "sha256": hashlib.sha256(content).hexdigest(),
        "inputs": list(INPUTS),
        "fallback": "product",
        **changes,
    }
    tasks = {"vtr": {"weight": 1.0}, "shr": {"weight": 0.5}}
    scenes = {"default": {"tasks": {"vtr": {"weight": 2.0}}}, "product": {"tasks": tasks}, "learned": learned}
    return {"schema_version": 1, "scenes": scenes}


def write_learned(config: Path, content: bytes, **changes: Any) -> None:
    """Write the network beside a config, then the config that names it."""
    (config.parent / "score.onnx").write_bytes(content)
    config.write_text(yaml.safe_dump(learned_config(content, **changes)))
