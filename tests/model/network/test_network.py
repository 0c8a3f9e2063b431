from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from model.network.embedding import EmbeddingSpec, FieldSpec, SideSpec
from model.network.heads import TaskHead
from model.network.network import RankingNetwork, build_network
from model.network.trunks.ple import PLEConfig

HEADS = (TaskHead("vtr", "binary"), TaskHead("vcr", "regression", (0.0, 1.0)), TaskHead("shr", "binary"))
VIDEO, TAG = EmbeddingSpec("video", 11, 6, entity=True), EmbeddingSpec("tag", 7, 4)
PLAIN_USER = SideSpec(
    (FieldSpec("user", EmbeddingSpec("user", 9, 4)), FieldSpec("city", EmbeddingSpec("city", 5, 3)))
)
USER = SideSpec(
    (
        *PLAIN_USER.fields,
        FieldSpec("watched", VIDEO, 4, "attention", "video", heads=2),
        FieldSpec("liked", VIDEO, 3, "mean"),
        FieldSpec("likes_tags", TAG, 3, "attention", "tags"),
    ),
    numeric=2,
)
ITEM = SideSpec((FieldSpec("video", VIDEO), FieldSpec("tags", TAG, 3, "max")), numeric=1)
CONFIG = PLEConfig(levels=2, expert=(16, 8), tower=(8,))
INPUTS = ("user_ids", "user_numeric", "item_ids", "item_numeric", "row_to_user")


def network(user: SideSpec = USER, item: SideSpec = ITEM, config: PLEConfig = CONFIG) -> RankingNetwork:
    torch.manual_seed(0)
    return build_network(config, user=user, item=item, tasks=HEADS).eval()


def side(spec: SideSpec, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = [torch.zeros(rows, 0, dtype=torch.int64)]
    for field in spec.fields:
        values = torch.randint(0 if field.values is None else 1, field.table.rows, (rows, field.columns))
        lengths = torch.randint(0, field.columns + 1, (rows, 1)) if field.values is not None else 1
        ids.append(torch.where(torch.arange(field.columns) < lengths, values, 0))
    return torch.cat(ids, dim=1), torch.randn(rows, spec.numeric)


def request(
    requests: int, candidates: int, user: SideSpec = USER, item: SideSpec = ITEM
) -> tuple[torch.Tensor, ...]:
    return (*side(user, requests), *side(item, candidates), torch.randint(0, requests, (candidates,)))


def test_one_user_row_per_request_equals_the_user_repeated_on_every_row() -> None:
    net = network().double()
    user_ids, user_numeric, item_ids, item_numeric, row_to_user = request(4, 30)
    repeated = (user_ids[row_to_user], user_numeric[row_to_user], item_ids, item_numeric, torch.arange(30))
    gathered = net.logits(user_ids, user_numeric, item_ids, item_numeric, row_to_user)
    torch.testing.assert_close(gathered, net.logits(*repeated), rtol=1e-12, atol=1e-12)


def test_the_trunk_reads_the_user_first_and_then_the_item() -> None:
    net = network()
    user_ids, user_numeric, item_ids, item_numeric, row_to_user = request(3, 8)
    x = net.inputs(user_ids, user_numeric, item_ids, item_numeric, row_to_user)
    user = net.user(net.user.look_up(net.tables, user_ids), user_numeric)
    item = net.item(net.item.look_up(net.tables, item_ids), item_numeric)
    own = net.user.width + net.item.width
    assert torch.equal(x[:, : net.user.width], user[row_to_user])
    assert torch.equal(x[:, net.user.width : own], item)
    assert x.shape[1] - own == VIDEO.width + TAG.width


def test_predictions_are_the_logits_read_by_the_heads() -> None:
    net = network()
    inputs = request(2, 9)
    assert net.logits(*inputs).shape == (9, 3)
    assert torch.equal(net.predictions(*inputs), torch.sigmoid(net.logits(*inputs)))
    assert torch.equal(net(*inputs), net.predictions(*inputs))


def test_a_candidate_does_not_feel_its_neighbours() -> None:
    net = network()
    user_ids, user_numeric, item_ids, item_numeric, row_to_user = request(3, 50)
    together = net(user_ids, user_numeric, item_ids, item_numeric, row_to_user)
    for row in range(0, 50, 7):
        own = slice(row, row + 1)
        user = row_to_user[own]
        alone = net(
            user_ids[user],
            user_numeric[user],
            item_ids[own],
            item_numeric[own],
            torch.zeros(1, dtype=torch.int64),
        )
        torch.testing.assert_close(alone, together[own], rtol=0, atol=1e-6)


def test_every_parameter_of_the_network_learns() -> None:
    net = network()
    net.logits(*request(40, 200)).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_the_same_seed_makes_the_same_network() -> None:
    first, second = network().state_dict(), network().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_network_that_cannot_be_built_says_why() -> None:
    with pytest.raises(ValueError, match="distinct names; got vtr, vtr"):
        build_network(CONFIG, user=USER, item=ITEM, tasks=[HEADS[0], HEADS[0]])
    with pytest.raises(ValueError, match="distinct names; got none"):
        build_network(CONFIG, user=USER, item=ITEM, tasks=[])
    with pytest.raises(ValueError, match="needs features; neither the user nor the item side has any"):
        build_network(CONFIG, user=SideSpec(), item=SideSpec(), tasks=HEADS)
    config = PLEConfig.model_validate({"experts": {"task": {"vtr": 1, "vcr": 1, "shr": 1, "cmr": 1}}})
    with pytest.raises(ValueError, match="unknown task 'cmr'; the tasks are vtr, vcr, shr"):
        build_network(config, user=USER, item=ITEM, tasks=HEADS)
    with pytest.raises(ValueError, match="field 'watched': its query 'video' is no item field"):
        build_network(CONFIG, user=USER, item=SideSpec(numeric=1), tasks=HEADS)


def test_a_history_that_holds_the_candidate_is_seen_by_that_candidate_alone() -> None:
    net = network()
    with torch.no_grad():
        net.tables.weight("video").normal_()
    user_ids, user_numeric, item_ids, item_numeric, _ = request(1, 2)
    item_ids[:, 0] = torch.tensor([3, 5])
    rows = torch.zeros(2, dtype=torch.int64)
    own = net.user.width + net.item.width
    places = slice(2, 6)
    user_ids[:, places] = 0
    empty = net.inputs(user_ids, user_numeric, item_ids, item_numeric, rows)[:, own : own + VIDEO.width]
    assert torch.equal(empty[0], empty[1])
    user_ids[:, places] = torch.tensor([3, 5, 0, 0])
    first, second = net.inputs(user_ids, user_numeric, item_ids, item_numeric, rows)[
        :, own : own + VIDEO.width
    ]
    assert not torch.allclose(first, second)


# torch.export walks torch's own pytrees in a way torch itself has deprecated.
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning")
def test_the_onnx_graph_gives_the_same_numbers_at_any_number_of_rows(tmp_path: Path) -> None:
    user = SideSpec(USER.fields)
    net = network(user, ITEM)
    any_size = {0: torch.export.Dim.DYNAMIC}
    program = torch.onnx.export(
        net,
        request(2, 3, user, ITEM),
        dynamo=True,
        verbose=False,
        input_names=INPUTS,
        output_names=["predictions"],
        dynamic_shapes=(any_size,) * len(INPUTS),
    )
    assert program is not None
    program.save(tmp_path / "network.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx", providers=["CPUExecutionProvider"])
    assert [graph_input.name for graph_input in session.get_inputs()] == list(INPUTS)
    for requests, candidates in ((1, 1), (1, 7), (5, 7), (1, 500), (3, 500)):
        inputs = request(requests, candidates, user, ITEM)
        feed = {name: value.numpy() for name, value in zip(INPUTS, inputs, strict=True)}
        (exported,) = session.run(["predictions"], feed)
        np.testing.assert_allclose(exported, net(*inputs).detach().numpy(), rtol=0, atol=1e-5)
