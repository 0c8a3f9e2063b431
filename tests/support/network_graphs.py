"""Networks with random weights, their graphs, and rows to run them on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import helper

from model.network.embedding import EmbeddingSpec, FieldSpec, SideSpec
from model.network.heads import TaskHead
from model.network.network import RankingNetwork, build_network
from model.network.trunks import network_config
from training.export.export import export_graph

IDS, NUMBERS, VALUES = 9, 2, 3
SHAPES = ((1, 1), (1, 40), (3, 40), (40, 40), (4, 1))
PLAIN = SideSpec((FieldSpec("u", EmbeddingSpec("u", IDS, 5)),), numeric=NUMBERS)
ITEM = SideSpec((FieldSpec("i", EmbeddingSpec("i", IDS, 6)),), numeric=NUMBERS)
HISTORY = FieldSpec("h", EmbeddingSpec("i", IDS, 6), values=VALUES, pool="attention", query="i")
USER = SideSpec((*PLAIN.fields, HISTORY), NUMBERS)


@dataclass(frozen=True)
class Graphs:
    """A network and its graphs, as torch exports it and lowered."""

    network: RankingNetwork
    standard: onnx.ModelProto
    lowered: onnx.ModelProto


def network_of(model: str, user: SideSpec, item: SideSpec) -> RankingNetwork:
    document = {"model": model, "expert": [48, 40], "tower": [32]}
    heads = [TaskHead("vtr", "binary"), TaskHead("vcr", "regression"), TaskHead("shr", "binary")]
    torch.manual_seed(2)
    network = build_network(network_config(document), user=user, item=item, tasks=heads).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            # Trained: biases of zero are left out of the graph, equal weights are one.
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return network


def exported(network: RankingNetwork, path: Path, *, lowered: bool) -> onnx.ModelProto:
    export_graph(network, path, lowered=lowered)
    return onnx.load(path)


def feed(network: RankingNetwork, users: int, candidates: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(users * 100 + candidates)

    def rows(spec: SideSpec, count: int) -> tuple[np.ndarray, np.ndarray]:
        numbers = random.normal(size=(count, spec.numeric)).astype(np.float32)
        return random.integers(0, IDS, (count, spec.id_columns)), numbers

    user, item = rows(network.user.spec, users), rows(network.item.spec, candidates)
    return {
        "user_ids": user[0],
        "user_numeric": user[1],
        "item_ids": item[0],
        "item_numeric": item[1],
        "row_to_user": random.integers(0, users, candidates),
    }


def run(model: onnx.ModelProto, given: dict[str, np.ndarray], *values: str) -> list[np.ndarray]:
    """The graph's outputs, or values within it."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in values
    )
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = ort.InferenceSession(shown.SerializeToString(), options, providers=["CPUExecutionProvider"])
    wanted = {node.name for node in session.get_inputs()}
    found = session.run(list(values) or None, {name: given[name] for name in given if name in wanted})
    return [np.asarray(array) for array in found]
