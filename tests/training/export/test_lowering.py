"""Lowering: less work and the same numbers, for every trunk."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from model.network.embedding import EmbeddingSpec, FieldSpec, SideSpec
from model.network.trunk import Trunk
from tests.support.network_graphs import (
    IDS,
    ITEM,
    NUMBERS,
    PLAIN,
    SHAPES,
    USER,
    exported,
    feed,
    network_of,
    run,
)

OFTEN = {"esmm", "ml-mmoe", "mran", "ple", "sluice"}
"""Networks that `make test` lowers; `make faults` lowers all of them."""
MODELS = [pytest.param(name, marks=() if name in OFTEN else pytest.mark.long) for name in sorted(Trunk.known)]


def products(model: onnx.ModelProto, given: dict[str, np.ndarray]) -> int:
    """Multiplications in all linear layers, by the rows that they really get."""
    weights = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type == "Gemm"]
    sources = sorted({node.input[0] for node in layers})
    rows = dict(zip(sources, map(len, run(model, given, *sources)), strict=True))
    return sum(rows[node.input[0]] * weights[node.input[1]][0] * weights[node.input[1]][1] for node in layers)


@pytest.mark.parametrize("model", MODELS)
def test_a_lowered_graph_predicts_what_torch_and_the_standard_graph_do(graphs, model):
    agree(graphs(model, USER))


def test_a_graph_without_histories_is_lowered_likewise(graphs):
    agree(graphs("ple", PLAIN))


def agree(made):
    """Torch, the lowered and the standard graph."""
    for users, candidates in SHAPES:
        given = feed(made.network, users, candidates)
        with torch.inference_mode():
            expected = made.network.predictions(**{k: torch.from_numpy(v) for k, v in given.items()}).numpy()
        found = np.stack(run(made.lowered, given), axis=1)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found, np.stack(run(made.standard, given), axis=1), rtol=0, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
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


def field(name: str, width: int, table: str | None = None) -> FieldSpec:
    return FieldSpec(name, EmbeddingSpec(table or name, IDS, width))


MANY_OF_USER = SideSpec(tuple(field(f"u{place}", 4) for place in range(3)), NUMBERS)
# Two of one width, another width, two more of the first; then one table that is read twice and stays alone.
MANY_OF_ITEM = SideSpec(
    (
        *(field(name, 3 if name == "c" else 6) for name in ("a", "b", "c", "d", "e", "shared")),
        field("again", 6, "shared"),
    )
)


def test_neighbouring_embeddings_of_one_width_are_looked_up_at_once(graphs):
    made = graphs("hard-sharing", MANY_OF_USER, MANY_OF_ITEM)
    tables = {tensor.name: tuple(tensor.dims) for tensor in made.lowered.graph.initializer}
    read = [node.input[0] for node in made.lowered.graph.node if node.op_type == "Gather"]
    joined = sorted(tables[name] for name in read if name in tables and name.endswith(".table"))
    assert joined == [(2 * IDS, 6), (2 * IDS, 6), (3 * IDS, 4)]
    for users, candidates in SHAPES:
        given = feed(made.network, users, candidates)
        np.testing.assert_allclose(run(made.lowered, given), run(made.standard, given), rtol=0, atol=1e-6)


def test_an_id_beyond_its_own_table_stays_an_error(graphs):
    made = graphs("hard-sharing", MANY_OF_USER, MANY_OF_ITEM)
    given = feed(made.network, 1, 5)
    for side, column in (("user_ids", 0), ("user_ids", 2), ("item_ids", 0), ("item_ids", 4)):
        wrong = given | {side: given[side].copy()}
        wrong[side][0, column] = IDS
        with pytest.raises(Exception, match="out of data bounds"):
            run(made.lowered, wrong)


@pytest.mark.parametrize(("user", "item"), [(PLAIN, SideSpec()), (SideSpec(), ITEM)], ids=["users", "items"])
def test_a_network_of_one_side_has_nothing_to_part(graphs, user, item):
    made = graphs("ple", user, item)
    for users, candidates in SHAPES:
        given = feed(made.network, users, candidates)
        np.testing.assert_allclose(run(made.lowered, given), run(made.standard, given), rtol=0, atol=1e-6)
        assert products(made.lowered, given) == products(made.standard, given)


@pytest.mark.long
def test_equal_networks_are_lowered_to_equal_bytes(tmp_path):
    for name in ("one", "other"):
        exported(network_of("ple", USER, ITEM), tmp_path / name, lowered=True)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
