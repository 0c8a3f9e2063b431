"""Sparse updates against dense ones: torch's own AdamW over whole tables, and an average of all weights."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from training.fitting.row_optimizer import RowAdamW

RATES = [0.01 * (1.0 - step / 50) for step in range(40)]
SHARES = [min(0.9, (step + 1) / (step + 10)) for step in range(40)]
EVERY_ROW = [[3, 0, 1, 2, 2, 0], [4, 3, 2, 1, 0]]


def tables(*sizes):
    torch.manual_seed(3)
    return [nn.Embedding(rows, width) for rows, width in sizes]


class Dense:
    """The same by torch's AdamW and an average of everything."""

    def __init__(self, embeddings, decays):
        self.tables = copy.deepcopy(embeddings)
        self.average = copy.deepcopy(embeddings)
        groups = [
            {"params": list(t.parameters()), "weight_decay": d}
            for t, d in zip(self.tables, decays, strict=True)
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, fused=True)
        self.done = 0

    def step(self, loss):
        for group in self.optimizer.param_groups:
            group["lr"] = RATES[self.done]
        self.optimizer.zero_grad(set_to_none=False)
        loss(self.tables).backward()
        for table in self.tables:
            if table.weight.grad is None:
                table.weight.grad = torch.zeros_like(table.weight)
        self.optimizer.step()
        with torch.no_grad():
            for kept, new in zip(self.average, self.tables, strict=True):
                kept.weight.lerp_(new.weight, 1.0 - SHARES[self.done])
        self.done += 1


def sparse(embeddings, decays):
    average = copy.deepcopy(embeddings)
    return RowAdamW(list(zip(embeddings, decays, strict=True)), average, RATES, SHARES), average


def looked_up(ids):
    """A loss that reads these ids of each table, and gives each row a gradient of its own."""

    def loss(embeddings):
        found = [table(torch.tensor(some)) for table, some in zip(embeddings, ids, strict=True) if some]
        return sum((each * torch.arange(1.0, each.numel() + 1).view_as(each).sin()).sum() for each in found)

    return loss


def step(optimizer, embeddings, ids):
    looked_up(ids)(embeddings).backward()
    optimizer.gather()
    optimizer.step()


def assert_close(one, other, **tolerance):
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine.weight, theirs.weight, **tolerance)


@pytest.mark.parametrize("decays", [(0.0, 0.0), (2.0, 2.0), (2.0, 0.1)])
@pytest.mark.parametrize("sizes", [((4, 3), (5, 3)), ((4, 3), (5, 2))])
def test_rows_that_every_step_reads_move_as_under_dense_updates(sizes, decays):
    mine = tables(*sizes)
    dense = Dense(mine, decays)
    optimizer, average = sparse(mine, decays)
    for _ in range(20):
        step(optimizer, mine, EVERY_ROW)
        dense.step(looked_up(EVERY_ROW))
    assert_close(mine, dense.tables, rtol=1e-6, atol=1e-7)
    optimizer.catch_up()
    assert_close(mine, dense.tables, rtol=1e-6, atol=1e-7)
    assert_close(average, dense.average, rtol=1e-6, atol=1e-7)


def test_a_row_decays_while_it_rests_and_is_read_as_if_it_had_all_along():
    mine = tables((6, 3))
    dense = Dense(mine, [3.0])
    optimizer, _ = sparse(mine, [3.0])
    for _ in range(15):
        step(optimizer, mine, [[0, 1]])
        dense.step(looked_up([[0, 1]]))
    remaining = math.prod(1.0 - 3.0 * rate for rate in RATES[:15])
    start = tables((6, 3))[0].weight
    assert torch.equal(mine[0].weight[4], start[4])
    # Reading is what makes up for it; a repeated id, and one that never rested, change nothing.
    read = mine[0](torch.tensor([[4, 4], [0, 4]]))
    torch.testing.assert_close(read[0, 0], start[4] * remaining)
    torch.testing.assert_close(read, dense.tables[0](torch.tensor([[4, 4], [0, 4]])))
    optimizer.catch_up()
    assert_close(mine, dense.tables, rtol=1e-5, atol=1e-7)


def test_the_average_of_a_resting_row_goes_on():
    mine = tables((3, 3))
    optimizer, average = sparse(mine, [0.0])
    expected = average[0].weight.detach().clone()
    # Row 1 is read in the first step, in the tenth and then no more; row 2 never.
    for number, ids in enumerate([[0, 1], *[[0]] * 8, [1], *[[0]] * 10]):
        step(optimizer, mine, [ids])
        expected.lerp_(mine[0].weight.detach(), 1.0 - SHARES[number])
    assert not torch.allclose(average[0].weight, expected)
    optimizer.catch_up()
    torch.testing.assert_close(average[0].weight.detach(), expected, rtol=1e-5, atol=1e-7)
    optimizer.catch_up()
    torch.testing.assert_close(average[0].weight.detach(), expected, rtol=1e-5, atol=1e-7)


def test_a_step_that_reads_nothing_of_a_table_leaves_it_alone():
    mine = tables((4, 3), (5, 3))
    optimizer, _ = sparse(mine, [0.0, 0.0])
    before = mine[1].weight.detach().clone()
    step(optimizer, mine, [[1, 2], []])
    assert torch.equal(mine[1].weight, before)
    optimizer.gather()
    optimizer.step()
    assert torch.equal(mine[1].weight, before)


def test_gathered_gradients_are_one_for_each_distinct_row_and_may_be_scaled():
    mine = tables((4, 2), (5, 2))
    whole = copy.deepcopy(mine)
    optimizer, _ = sparse(mine, [0.0, 0.0])
    loss = looked_up([[2, 2, 0], [1, 1, 1]])
    loss(mine).backward()
    loss(whole).backward()
    (gathered,) = optimizer.gather()
    expected = [table.weight.grad[table.weight.grad.any(dim=1)] for table in whole]
    torch.testing.assert_close(gathered, torch.cat(expected))
    gathered.zero_()
    before = mine[0].weight.detach().clone()
    optimizer.step()
    assert torch.equal(mine[0].weight, before)


def test_released_tables_give_dense_gradients_again_and_decay_no_more():
    mine = tables((4, 2))
    optimizer, _ = sparse(mine, [1.0])
    step(optimizer, mine, [[0]])
    optimizer.catch_up()
    optimizer.release()
    before = mine[0].weight.detach().clone()
    mine[0](torch.tensor([3])).sum().backward()
    assert not mine[0].weight.grad.is_sparse
    assert torch.equal(mine[0].weight, before)
