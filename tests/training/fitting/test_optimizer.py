"""The optimizer: what decays, how the step size moves, and the average of the weights."""

from __future__ import annotations

import pytest
import torch

from model.network.embedding import EmbeddingSpec, FieldSpec, SideSpec
from model.network.heads import TaskHead
from model.network.network import build_network
from model.network.trunks.ple import PLEConfig
from training.fitting.loss_weights import TaskWeights, UncertaintyWeights
from training.fitting.optimizer import Average, adamw, average_share, rate_share, table_decays
from training.recipe import Monitor, TrainingConfig

HEADS = [TaskHead("vtr", "binary")]
CONFIG = TrainingConfig(
    learning_rate=0.02,
    weight_decay=0.1,
    embedding_weight_decay=0.2,
    id_weight_decay=0.3,
    monitor=Monitor(metric="vtr.auc", mode="max"),
)


def network():
    """With a table of an entity, another table, and a trunk."""
    torch.manual_seed(3)
    user = SideSpec((FieldSpec("user", EmbeddingSpec("user", 6, 4, entity=True)),))
    item = SideSpec((FieldSpec("tag", EmbeddingSpec("tag", 5, 2)),), numeric=1)
    return build_network(PLEConfig(levels=1, expert=(8,), tower=(4,)), user=user, item=item, tasks=HEADS)


def decays(net, optimizer):
    """Weight decay by the name of the parameter."""
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    return {
        names.get(id(parameter), "other"): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def test_entities_other_tables_and_matrices_decay_each_at_its_own_rate_and_vectors_not_at_all():
    net = network()
    found = decays(net, adamw(net, TaskWeights([1.0]), CONFIG))
    assert set(found) == {name for name, _ in net.named_parameters()}
    by_table = {id(table.weight): decay for table, decay in table_decays(net, CONFIG)}
    for name, parameter in net.named_parameters():
        matrix = CONFIG.weight_decay if parameter.ndim > 1 else 0.0
        assert found[name] == by_table.get(id(parameter), matrix), name
    assert sorted(by_table.values()) == [0.2, 0.3]


def test_tables_may_be_left_to_another_optimizer():
    net = network()
    found = decays(net, adamw(net, TaskWeights([1.0]), CONFIG, tables=False))
    tables = {id(table.weight) for table, _ in table_decays(net, CONFIG)}
    assert set(found) == {name for name, parameter in net.named_parameters() if id(parameter) not in tables}


def test_learned_task_weights_are_trained_and_do_not_decay():
    net = network()
    assert decays(net, adamw(net, UncertaintyWeights([1.0], HEADS), CONFIG))["other"] == 0.0


@pytest.mark.parametrize(
    ("schedule", "middle", "last"),
    [("constant", 1.0, 1.0), ("linear", 0.505, 0.01), ("cosine", 0.505, 0.01), ("exponential", 0.1, 0.01)],
)
def test_a_schedule_falls_to_a_hundredth_after_the_rise(schedule, middle, last):
    config = CONFIG.model_copy(update={"schedule": schedule, "warmup": 0.1})
    rates = [rate_share(config, step, 100) for step in range(101)]
    # The rise takes a tenth of the steps, none of them with a rate of zero.
    assert rates[0] == pytest.approx(0.1)
    assert rates[50] == pytest.approx(middle)
    assert rates[100] == pytest.approx(last)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[10] == pytest.approx(rate_share(CONFIG.model_copy(update={"schedule": schedule}), 10, 100))


def test_the_average_of_equal_weights_is_that_weight_and_of_moving_ones_lags():
    net = network()
    average = Average(net, 0.9)
    before = [parameter.clone() for parameter in net.parameters()]
    average.follow()
    for kept, weight in zip(average.network.parameters(), before, strict=True):
        torch.testing.assert_close(kept, weight)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 1.0
    average.follow()
    stays = average_share(0.9, 2)
    for kept, weight in zip(average.network.parameters(), before, strict=True):
        torch.testing.assert_close(kept, weight + (1.0 - stays))


def test_the_average_soon_forgets_its_start_and_then_keeps_what_is_asked():
    shares = [average_share(0.99, step) for step in range(1, 2000)]
    assert shares[0] == 0.1
    assert shares == sorted(shares)
    assert shares[-1] == 0.99


def test_an_average_without_tables_leaves_them_alone():
    net = network()
    average = Average(net, 0.5, tables=False)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 1.0
    average.follow()
    own = {name for name, table in net.named_modules() if isinstance(table, torch.nn.Embedding)}
    for name, kept in average.network.named_parameters():
        moved = not torch.equal(kept, dict(network().named_parameters())[name])
        assert moved is (name.removesuffix(".weight") not in own), name


def test_a_restored_average_goes_on_as_if_it_had_not_stopped():
    net, other = network(), network()
    whole, resumed = Average(net, 0.9), Average(other, 0.9)
    whole.follow()
    resumed.restore({"weights": {k: v.clone() for k, v in whole.network.state_dict().items()}, "steps": 1})
    for one in (net, other):
        with torch.no_grad():
            for parameter in one.parameters():
                parameter *= 2.0
    whole.follow()
    resumed.follow()
    for kept, same in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(kept, same)
