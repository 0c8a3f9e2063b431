"""Where a network is trained: the choice of a device, and that a step stays on the device of its network.

The CPU tests stand for what a GPU would need; those that need one are skipped where torch sees none.
"""

from __future__ import annotations

import copy
from itertools import islice

import numpy as np
import pytest
import torch

from model.encoding import EncodedRows
from model.errors import FulcrumError
from model.network.embedding import EmbeddingSpec, FieldSpec, SideSpec
from model.network.heads import TaskHead
from model.network.network import build_network
from model.network.trunk import Trunk
from model.network.trunks import network_config
from training.fitting.device import device_name, multiply_exactly, training_device
from training.fitting.loss_weights import task_weights
from training.fitting.step import Step
from training.fitting.trainer import CheckpointDue, FitPlan, fit, predict_rows
from training.recipe import (
    DecayedLossWeights,
    FixedLossWeights,
    Monitor,
    TrainingConfig,
    UncertaintyLossWeights,
    load_recipe,
)
from training.rows.batches import EncodedLog
from training.train import TrainingPlan, train_bundle

HAS_GPU = torch.cuda.is_available()
without_gpu = pytest.mark.skipif(HAS_GPU, reason="torch sees a GPU here")
with_gpu = pytest.mark.skipif(not HAS_GPU, reason="torch sees no GPU")

HEADS = [TaskHead("vtr", "binary"), TaskHead("vcr", "regression")]
CONFIG = TrainingConfig(
    epochs=2, batch=64, learning_rate=0.02, monitor=Monitor(metric="vtr.auc", mode="max"), average=0.9
)
HARD = CONFIG.model_copy(update={"gradient_clip": 0.5, "id_weight_decay": 1.0, "precision": "bf16"})
DECAYED = DecayedLossWeights(kind="decayed", ratio={"vcr": 0.5}, every="step")
UNCERTAIN = UncertaintyLossWeights(kind="uncertainty")
WEIGHTS = (FixedLossWeights(), DECAYED, UNCERTAIN)


def planted(rows, seed):
    """vtr follows the item's number, vcr the user; a history of three items beside it."""
    random = np.random.default_rng(seed)
    user, item, number = random.integers(2, 8, rows), random.integers(2, 20, rows), random.normal(size=rows)
    history = random.integers(0, 20, (rows, 3)) * (random.random((rows, 1)) < 0.8)
    masks = np.ones((rows, 2), bool)
    masks[::5, 1] = False
    return EncodedLog(
        EncodedRows(np.column_stack([user, history, history]), np.zeros((rows, 0), np.float32)),
        EncodedRows(item[:, None], number[:, None].astype(np.float32)),
        np.column_stack([number + random.normal(0, 0.3, rows) > 0, user / 8]).astype(np.float32),
        masks,
        user,
        user,
    )


TRAIN, VALIDATION = planted(500, 1), planted(200, 2)


def network(model="ple", **changed):
    """With every kind of field; `RANDOM` adds every random choice."""
    torch.manual_seed(5)
    config = network_config({"model": model, **changed})
    videos = EmbeddingSpec("video", 20, 4, entity=True)
    user = SideSpec(
        (
            FieldSpec("user", EmbeddingSpec("user", 8, 4, entity=True)),
            FieldSpec("liked", videos, 3, "mean"),
            FieldSpec("watched", videos, 3, "attention", "video"),
        )
    )
    return build_network(config, user=user, item=SideSpec((FieldSpec("video", videos),), 1), tasks=HEADS)


RANDOM = {"dropout": 0.2, "embedding_dropout": 0.2, "id_dropout": 0.3}


def config(how="cpu"):
    return CONFIG.model_copy(update={"device": how})


def test_a_recipe_is_trained_on_the_cpu_unless_it_asks_for_more():
    assert TrainingConfig(monitor=CONFIG.monitor).device == "cpu"
    assert training_device(config("cpu")) == torch.device("cpu")
    assert device_name(torch.device("cpu")) == "cpu"


@without_gpu
def test_auto_is_the_cpu_where_there_is_no_gpu_and_cuda_says_what_is_missing():
    assert training_device(config("auto")) == torch.device("cpu")
    with pytest.raises(
        FulcrumError, match=r"training\.device: cuda was asked for, but .*training\.device=cpu"
    ):
        training_device(config("cuda"))


@without_gpu
def test_a_training_without_its_gpu_ends_before_anything_is_read_or_written(tmp_path):
    recipe = load_recipe("kuairand", ["training.device=cuda"])
    with pytest.raises(FulcrumError, match=r"training\.device"):
        train_bundle(TrainingPlan(recipe, tmp_path / "out", tmp_path / "nowhere", tmp_path / "run"))
    assert not list(tmp_path.iterdir())


def test_float32_is_multiplied_as_float32_whatever_was_set_before():
    torch.set_float32_matmul_precision("medium")
    multiply_exactly()
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cuda.matmul.allow_tf32


def steps(made, config, unsaid="cpu"):
    """Three steps; what does not say where it is made is made at `unsaid`."""
    torch.manual_seed(6)
    where = made.base.device
    tasks = task_weights(config.loss_weights, [1.0, 0.5], HEADS).to(where)
    batches = [*islice(TRAIN.epoch(torch.Generator().manual_seed(1), config.batch, 0), 3)]
    made.train()
    with torch.device(unsaid):
        step = Step(made, config, tasks, 10)
        return step, [step.take(batch.on(where), 1) for batch in batches]


MODELS = [(name, WEIGHTS[0], "dense") for name in sorted(Trunk.known)]
OTHERS = [("ple", weights, updates) for weights in WEIGHTS for updates in ("dense", "sparse")]


def named(case):
    return getattr(case, "kind", case)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "loss_weights", "updates"), MODELS + OTHERS[1:], ids=named)
def test_a_step_makes_no_tensor_without_saying_where(model, loss_weights, updates):
    """What does not say where would lie on `meta` here, which mixes with nothing and holds no values."""
    hard = HARD.model_copy(update={"embedding_updates": updates, "loss_weights": loss_weights})
    plain, elsewhere = (network(model, **RANDOM) for _ in range(2))
    one, losses = steps(plain, hard)
    other, found = steps(elsewhere, hard, unsaid="meta")
    assert [loss.item() for loss, _ in found] == [loss.item() for loss, _ in losses]
    with torch.device("meta"):
        judged = predict_rows(other.settled(), VALIDATION)
    assert np.array_equal(judged, predict_rows(one.settled(), VALIDATION))


@pytest.mark.parametrize(("model", "loss_weights", "updates"), MODELS + OTHERS[2::2], ids=named)
def test_a_step_lies_where_its_network_lies(monkeypatch, model, loss_weights, updates):
    """On `meta`, where tensors have shapes alone: one that stayed on the CPU would be refused beside them."""
    adamw = torch.optim.AdamW  # whose fused kernel does not know of meta
    monkeypatch.setattr(torch.optim, "AdamW", lambda groups, lr, fused: adamw(groups, lr=lr, foreach=fused))
    made = network(model, **RANDOM).to("meta")
    step, losses = steps(
        made, HARD.model_copy(update={"embedding_updates": updates, "loss_weights": loss_weights})
    )
    assert {each.device.type for pair in losses for each in pair} == {"meta"}
    assert {weight.device.type for weight in step.settled().state_dict().values()} == {"meta"}


def test_what_a_device_follows_is_no_part_of_a_state():
    for weights in WEIGHTS:
        kept = task_weights(weights, [1.0, 0.5], HEADS).state_dict()
        assert set(kept) == ({"log_variance"} if weights is UNCERTAIN else set())


def test_a_batch_on_its_own_device_is_itself():
    batch = next(TRAIN.slices(10))
    assert batch.on(torch.device("cpu")).item_ids is batch.item_ids


@with_gpu
@pytest.mark.parametrize("updates", ["dense", "sparse"])
def test_a_gpu_learns_what_the_cpu_learns_and_the_network_comes_back(updates):
    asked = HARD.model_copy(update={"precision": "fp32", "embedding_updates": updates})
    there, here = network(), network()
    fit(here, FitPlan(asked, [1.0, 0.5], TRAIN, VALIDATION))
    found = fit(there.to("cuda"), FitPlan(asked, [1.0, 0.5], TRAIN, VALIDATION))
    assert {weight.device.type for weight in there.state_dict().values()} == {"cpu"}
    assert np.allclose(
        predict_rows(found.network, VALIDATION), predict_rows(here, VALIDATION), rtol=0, atol=1e-3
    )


@with_gpu
def test_a_training_on_a_gpu_goes_on_from_a_checkpoint_with_its_random_numbers():
    asked = HARD.model_copy(update={"precision": "fp32"})
    kept = []
    whole = network(**RANDOM).to("cuda")
    fit(
        whole,
        FitPlan(asked, [1.0, 0.5], TRAIN, VALIDATION),
        lambda event: (
            kept.append(copy.deepcopy(dict(event.state))) if isinstance(event, CheckpointDue) else None
        ),
    )
    resumed = network(**RANDOM).to("cuda")
    fit(resumed, FitPlan(asked, [1.0, 0.5], TRAIN, VALIDATION), resume=kept[0])
    assert np.allclose(predict_rows(resumed, VALIDATION), predict_rows(whole, VALIDATION), rtol=0, atol=1e-3)
