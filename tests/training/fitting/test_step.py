"""One step: forward, loss, backward, the move; and its state, whole."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from model.encoding import EncodedRows
from model.network.embedding import EmbeddingSpec, FieldSpec, SideSpec
from model.network.heads import TaskHead
from model.network.network import build_network
from model.network.trunks.ple import PLEConfig
from training.fitting.loss_weights import TaskWeights, UncertaintyWeights
from training.fitting.step import Step, precision
from training.recipe import Monitor, TrainingConfig
from training.rows.batches import EncodedLog

HEADS = [TaskHead("vtr", "binary"), TaskHead("vcr", "regression")]
CONFIG = TrainingConfig(
    learning_rate=0.02, precision="fp32", monitor=Monitor(metric="vtr.auc", mode="max"), schedule="constant"
)
STEPS = 10


def network():
    torch.manual_seed(3)
    user = SideSpec((FieldSpec("user", EmbeddingSpec("user", 6, 4)),))
    config = PLEConfig(levels=1, expert=(8,), tower=(4,))
    return build_network(config, user=user, item=SideSpec(numeric=1), tasks=HEADS)


def batch(seed=1, rows=32):
    random = np.random.default_rng(seed)
    user, number = random.integers(0, 6, rows), random.normal(size=(rows, 1)).astype(np.float32)
    labels = np.stack([number[:, 0] > 0, user / 6], axis=1).astype(np.float32)
    log = EncodedLog(
        EncodedRows(user[:, None], np.zeros((rows, 0), np.float32)),
        EncodedRows(np.zeros((rows, 0), np.int64), number),
        labels,
        np.ones((rows, 2), bool),
        user,
        user,
    )
    return next(log.slices(rows)).on(torch.device("cpu"))


def step(net, weights=None, **changed):
    return Step(net, CONFIG.model_copy(update=changed), weights or TaskWeights([1.0, 0.5]), STEPS)


def test_a_step_gives_the_weighed_sum_of_the_tasks_losses():
    loss, per_task = step(network()).take(batch(), epoch=1)
    assert loss.item() == pytest.approx((per_task[0] + 0.5 * per_task[1]).item())
    assert not loss.requires_grad
    assert not per_task.requires_grad


def test_steps_on_one_batch_make_its_loss_smaller():
    taking = step(network())
    losses = [taking.take(batch(), epoch=1)[0].item() for _ in range(STEPS)]
    assert losses[-1] < losses[0]


def test_what_weights_learn_is_part_of_the_loss():
    weights = UncertaintyWeights([1.0, 1.0], HEADS)
    with torch.no_grad():
        weights.log_variance.fill_(0.5)
    loss, per_task = step(network(), weights).take(batch(), epoch=1)
    share = np.exp(-0.5)
    assert loss.item() == pytest.approx(
        (share * per_task[0] + share / 2 * per_task[1]).item() + 0.5, rel=1e-5
    )


@pytest.mark.parametrize("updates", ["dense", "sparse"])
def test_a_gradient_longer_than_the_clip_moves_the_weights_as_one_of_its_length(updates):
    """AdamW's first step forgets the gradient's length, save where it is as small as its epsilon."""
    moved = {}
    for clip in (None, 1e-12):
        net = network()
        before = [parameter.detach().clone() for parameter in net.parameters()]
        taking = step(net, embedding_updates=updates, gradient_clip=clip, weight_decay=0.0)
        taking.take(batch(), epoch=1)
        taking.settled()
        moved[clip] = max(
            (new - old).abs().max().item() for new, old in zip(net.parameters(), before, strict=True)
        )
    assert moved[1e-12] < moved[None] / 100


@pytest.mark.parametrize("average", [None, 0.9])
@pytest.mark.parametrize("updates", ["dense", "sparse"])
def test_restored_it_goes_on_as_if_it_had_not_stopped(average, updates):
    whole = step(network(), average=average, embedding_updates=updates)
    for seed in (1, 2):
        whole.take(batch(seed), epoch=1)
    kept = copy.deepcopy(whole.state())
    resumed = step(network(), average=average, embedding_updates=updates)
    resumed.restore(kept)
    for seed in (3, 4):
        assert torch.equal(whole.take(batch(seed), 1)[0], resumed.take(batch(seed), 1)[0])
    one, other = whole.settled().state_dict(), resumed.settled().state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("average", [None, 0.9])
def test_what_is_judged_is_the_average_where_there_is_one(average):
    net = network()
    taking = step(net, average=average)
    taking.take(batch(), epoch=1)
    assert (taking.settled() is net) is (average is None)


@pytest.mark.parametrize(
    ("asked", "fast", "found"),
    [
        ("auto", True, torch.bfloat16),
        ("auto", False, torch.float32),
        ("bf16", False, torch.bfloat16),
        ("fp32", True, torch.float32),
    ],
)
def test_auto_is_the_precision_that_the_processor_is_fast_in(monkeypatch, asked, fast, found):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    config = CONFIG.model_copy(update={"precision": asked})
    assert precision(config, torch.device("cpu")) is found
