"""Lowering: less work and the same numbers, for every trunk."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import helper

from model.network.embedding import FieldSpec, SideSpec, TableSpec
from model.network.heads import TaskHead
from model.network.network import RankingNetwork, build_network
from model.network.trunk import Trunk
from model.network.trunks import network_config
from training.export import export_graph
from training.lowering import lower

IDS, NUMBERS, VALUES = 9, 2, 3
SHAPES = ((1, 1), (1, 40), (3, 40), (40, 40), (4, 1))
PLAIN = SideSpec((FieldSpec("u", TableSpec("u", IDS, 5)),), numeric=NUMBERS)
ITEM = SideSpec((FieldSpec("i", TableSpec("i", IDS, 6)),), numeric=NUMBERS)
HISTORY = FieldSpec("h", TableSpec("i", IDS, 6), values=VALUES, pool="attention", query="i")
USER = SideSpec((*PLAIN.fields, HISTORY), NUMBERS)


@dataclass(frozen=True)
class Graphs:
    """A network and its graphs, as torch exports it and lowered."""

    network: RankingNetwork
    standard: onnx.ModelProto
    lowered: onnx.ModelProto


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("graphs")

    @cache
    def make(model: str, user: SideSpec = USER, item: SideSpec = ITEM) -> Graphs:
        network = network_of(model, user, item)
        standard = exported(network, folder / "network.onnx", lowered=False)
        lowered = onnx.ModelProto()
        lowered.CopyFrom(standard)
        lower(lowered.graph, network.user.width)
        onnx.checker.check_model(lowered, full_check=True)
        return Graphs(network, standard, lowered)

    return make


def network_of(model: str, user: SideSpec, item: SideSpec) -> RankingNetwork:
    document = {"model": model, "expert": [48, 8], "tower": [4]}
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


def products(model: onnx.ModelProto, given: dict[str, np.ndarray]) -> int:
    """Multiplications in all linear layers, by the rows that they really get."""
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type == "Gemm"]
    sources = sorted({node.input[0] for node in layers})
    rows = dict(zip(sources, map(len, run(model, given, *sources)), strict=True))
    return sum(rows[node.input[0]] * weights[node.input[1]][0] * weights[node.input[1]][1] for node in layers)


@pytest.mark.parametrize(
    ("model", "user"),
    [*((model, USER) for model in sorted(Trunk.known)), ("ple", PLAIN)],
    ids=[*sorted(Trunk.known), "ple without histories"],
)
def test_a_lowered_graph_predicts_what_torch_and_the_standard_graph_do(graphs, model, user):
    made = graphs(model, user)
    for users, candidates in SHAPES:
        given = feed(made.network, users, candidates)
        with torch.inference_mode():
            expected = made.network.predictions(**{k: torch.from_numpy(v) for k, v in given.items()}).numpy()
        found = np.stack(run(made.lowered, given), axis=1)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found, np.stack(run(made.standard, given), axis=1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", sorted(Trunk.known))
def test_the_user_is_calculated_once_a_request_and_candidates_pay_for_the_rest(graphs, model):
    made = graphs(model, USER)  # said as above, so that the graph is made once
    on_x = sum(
        tensor.dims[0]
        for node in made.standard.graph.node
        if node.op_type == "Gemm"
        for tensor in made.standard.graph.initializer
        if tensor.name == node.input[1] and tensor.dims[1] == made.network.width
    )
    assert (on_x > 0) == (model != "mran")  # which relates features before any layer sees them all
    of_user = on_x * made.network.user.width
    for users, candidates in SHAPES:
        given = feed(made.network, users, candidates)
        saved = products(made.standard, given) - products(made.lowered, given)
        assert saved == (candidates - users) * of_user


def test_predictions_of_a_row_do_not_depend_on_how_many_users_there_are(graphs):
    made = graphs("ple")
    given = feed(made.network, 3, 40)
    together = np.stack(run(made.lowered, given), axis=1)
    for user in range(3):
        rows = given["row_to_user"] == user
        alone = {name: array[rows] for name, array in given.items() if name.startswith("item")}
        alone |= {name: given[name][user : user + 1] for name in ("user_ids", "user_numeric")}
        alone["row_to_user"] = np.zeros(rows.sum(), np.int64)
        np.testing.assert_allclose(np.stack(run(made.lowered, alone), axis=1), together[rows], atol=1e-6)


def test_gates_add_experts_up_without_copying_them_side_by_side(graphs):
    made = graphs("ple", PLAIN)  # attention reduces, too
    kinds = [[node.op_type for node in graph.node] for graph in (made.standard.graph, made.lowered.graph)]
    assert ["ReduceSum" in kind for kind in kinds] == [True, False]
    # Nothing that the standard graph needed alone is left over.
    read = {name for node in made.lowered.graph.node for name in node.input}
    assert {tensor.name for tensor in made.lowered.graph.initializer} <= read


@pytest.mark.parametrize(("user", "item"), [(PLAIN, SideSpec()), (SideSpec(), ITEM)], ids=["users", "items"])
def test_a_network_of_one_side_has_nothing_to_part(graphs, user, item):
    made = graphs("ple", user, item)
    for users, candidates in SHAPES:
        given = feed(made.network, users, candidates)
        np.testing.assert_allclose(run(made.lowered, given), run(made.standard, given), rtol=0, atol=1e-6)
        assert products(made.lowered, given) == products(made.standard, given)


def test_equal_networks_are_lowered_to_equal_bytes(tmp_path):
    for name in ("one", "other"):
        exported(network_of("ple", USER, ITEM), tmp_path / name, lowered=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
