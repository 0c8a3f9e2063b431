"""The training loop: it learns what is planted, keeps its best epoch, and gives the same weights again."""

from __future__ import annotations

import io
import math
import random
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from model.encoding import EncodedRows
from model.errors import FulcrumError
from model.network.embedding import EmbeddingSpec, FieldSpec, SideSpec
from model.network.heads import TaskHead
from model.network.network import build_network
from model.network.trunks.ple import PLEConfig
from training.fitting import trainer
from training.fitting.trainer import CheckpointDue, EpochDone, FitPlan, StepDone, fit, predict_rows
from training.metrics.task_metrics import auc
from training.recipe import (
    DecayedLossWeights,
    FixedLossWeights,
    Monitor,
    TrainingConfig,
    UncertaintyLossWeights,
)
from training.rows.batches import EncodedLog

HEADS = [TaskHead("vtr", "binary"), TaskHead("vcr", "regression")]
AUC, MSE = Monitor(metric="vtr.auc", mode="max"), Monitor(metric="vcr.mse", mode="min")
CONFIG = TrainingConfig(epochs=4, batch=64, learning_rate=0.02, patience=4, monitor=AUC)


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def planted(rows, seed):
    """vtr follows the item's number; vcr the user's id."""
    random = np.random.default_rng(seed)
    user, number = random.integers(0, 6, rows), random.normal(size=(rows, 1)).astype(np.float32)
    labels = np.stack([number[:, 0] + random.normal(0, 0.3, rows) > 0, user / 6], axis=1).astype(np.float32)
    return EncodedLog(
        EncodedRows(user[:, None], np.zeros((rows, 0), np.float32)),
        EncodedRows(np.zeros((rows, 0), np.int64), number),
        labels,
        np.ones((rows, 2), bool),
        user,
        user,
    )


TRAIN, VALIDATION = planted(1000, 1), planted(300, 2)


def network(seed=5, **changed):
    torch.manual_seed(seed)
    config = PLEConfig(levels=1, expert=(16,), tower=(8,), **changed)
    user = SideSpec((FieldSpec("user", EmbeddingSpec("user", 6, 4, "id_dropout" in changed)),))
    return build_network(config, user=user, item=SideSpec(numeric=1), tasks=HEADS)


def on(kind, call):
    """An observer of one kind of event."""
    return lambda event: call(event) if isinstance(event, kind) else None


def trained(train=TRAIN, weights=(1.0, 1.0), seed=5, **changed):
    kept = []
    config = CONFIG.model_copy(update=changed)
    outcome = fit(
        network(seed),
        FitPlan(config, list(weights), train, VALIDATION),
        on(EpochDone, lambda done: kept.append(dict(done.best_weights))),
    )
    return outcome, kept


class KilledError(Exception):
    """Stands for the end of the process."""


def stopped_after(steps, config, **network_config):
    """The checkpoints of a training that ends after so many steps, as they would be read from a file."""
    left, kept = steps, []

    def count(event):
        nonlocal left
        left -= isinstance(event, StepDone)
        if left == 0:
            raise KilledError
        if isinstance(event, CheckpointDue):
            kept.append(written(event.state))

    with pytest.raises(KilledError):
        fit(
            network(**network_config),
            FitPlan(config, [1.0, 0.5], TRAIN, VALIDATION),
            count,
        )
    return kept


def written(state):
    file = io.BytesIO()
    torch.save(dict(state), file)
    return file.getvalue()


def read(file):
    return torch.load(io.BytesIO(file), weights_only=True)


def equal(one, other):
    return all(torch.equal(one[name], other[name]) for name in other)


@pytest.mark.parametrize("average", [None, 0.9])
def test_it_learns_what_is_planted(average):
    outcome, _ = trained(average=average)
    predictions = predict_rows(outcome.network, VALIDATION)
    assert auc(predictions[:, 0], VALIDATION.labels[:, 0]) > 0.95
    assert (
        np.mean((predictions[:, 1] - VALIDATION.labels[:, 1]) ** 2) < 0.01 < np.var(VALIDATION.labels[:, 1])
    )
    first, last = outcome.epochs[0], outcome.epochs[-1]
    assert last.loss < first.loss
    assert outcome.best.validation["vtr"]["auc"] == pytest.approx(
        auc(predictions[:, 0], VALIDATION.labels[:, 0])
    )


def test_bfloat16_learns_the_same_and_leaves_float32_weights():
    outcome, _ = trained(precision="bf16")
    assert outcome.best.validation["vtr"]["auc"] > 0.95
    assert outcome.best.validation["vcr"]["mse"] < 0.01
    weights = outcome.network.state_dict()
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    assert not equal(weights, trained()[0].network.state_dict())


@pytest.mark.parametrize("changed", [{}, {"average": 0.9, "id_weight_decay": 1.0, "gradient_clip": 0.5}])
def test_sparse_updates_learn_what_dense_ones_do(changed):
    """Every step reads all six users: the rows never rest, so the weights agree to rounding."""
    dense, sparse = (trained(embedding_updates=how, epochs=1, **changed)[0] for how in ("dense", "sparse"))
    other = sparse.network.state_dict()
    for name, weights in dense.network.state_dict().items():
        torch.testing.assert_close(weights, other[name], rtol=1e-4, atol=1e-5)


def test_equal_seeds_give_equal_weights_and_another_seed_others():
    one, again, other = (trained(epochs=1, seed=seed)[0] for seed in (5, 5, 6))
    assert equal(one.network.state_dict(), again.network.state_dict())
    assert not equal(one.network.state_dict(), other.network.state_dict())
    reshuffled = fit(
        network(), FitPlan(CONFIG.model_copy(update={"epochs": 1, "seed": 8}), [1.0, 1.0], TRAIN, VALIDATION)
    )
    assert not equal(one.network.state_dict(), reshuffled.network.state_dict())


def scripted(monkeypatch, values):
    """The validation's verdict, epoch by epoch."""
    verdicts = iter(values)
    monkeypatch.setattr(
        trainer,
        "judge",
        lambda *_: {"vtr": {"auc": (value := next(verdicts)), "logloss": value}, "vcr": {"mse": value}},
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("monitor", "values", "best", "stopped"),
    [
        (AUC, [0.5, 0.7, 0.6, 0.65, 0.9], 2, 4),
        (AUC, [0.5, 0.7, 0.7, 0.7], 2, 4),
        (AUC, [0.5, 0.4, 0.6, 0.5, 0.8, 0.9], 6, 6),
        (MSE, [0.3, 0.1, 0.2, 0.15, 0.01], 2, 4),
        (MSE, [0.1, 0.2, 0.3], 1, 3),
        (Monitor(metric="loss", mode="min"), [0.3, 0.1, 0.2, 0.15, 0.01], 2, 4),
        (AUC, [math.nan, 0.6, 0.5, 0.5], 2, 4),
        (MSE, [0.2, math.nan, math.nan], 1, 3),
        (AUC, [math.nan, math.nan, math.nan], 1, 3),
    ],
)
def test_it_stops_without_improvement_and_ends_with_the_best_weights(
    monkeypatch, monitor, values, best, stopped
):
    scripted(monkeypatch, values)
    outcome, kept = trained(monitor=monitor, epochs=6, patience=2)
    assert (outcome.best.epoch, len(outcome.epochs)) == (best, stopped)
    assert [report.epoch for report, weights in zip(outcome.epochs, kept, strict=True) if weights] == [
        report.epoch for report in outcome.epochs if report.best
    ]
    assert equal(outcome.network.state_dict(), kept[best - 1])
    assert not outcome.network.training


def test_the_last_epoch_is_kept_where_validation_is_not_to_choose(monkeypatch):
    monkeypatch.setattr(trainer, "judge", lambda *_: {"vtr": {"auc": falling.pop()}})
    falling = [0.5, 0.6, 0.7, 0.8]
    outcome, kept = trained(epochs=4, patience=1, keep="last")
    assert outcome.best.epoch == 4
    assert [report.best for report in outcome.epochs] == [True] * 4
    assert equal(outcome.network.state_dict(), kept[-1])


def test_the_monitored_loss_weighs_the_tasks(monkeypatch):
    monkeypatch.setattr(trainer, "judge", lambda *_: {"vtr": {"logloss": 0.5}, "vcr": {"mse": 0.25}})
    outcome, _ = trained(monitor=Monitor(metric="loss", mode="min"), epochs=1, weights=(2.0, 4.0))
    assert outcome.best.monitored == 2.0


@pytest.mark.slow
def test_a_task_without_rows_in_most_batches_harms_nothing():
    masks = TRAIN.masks.copy()
    masks[3:, 1] = False
    labels = np.where(masks, TRAIN.labels, np.nan).astype(np.float32)
    outcome, _ = trained(replace(TRAIN, labels=labels, masks=masks), batch=16)
    assert all(torch.isfinite(weight).all() for weight in outcome.network.state_dict().values())
    assert all(math.isfinite(report.loss) for report in outcome.epochs)
    assert outcome.best.validation["vtr"]["auc"] > 0.9


def test_rows_outside_a_tasks_sample_space_teach_it_nothing():
    masks = TRAIN.masks.copy()
    masks[::2] = False
    wrong = np.where(masks, TRAIN.labels, 1 - TRAIN.labels).astype(np.float32)
    right, _ = trained(replace(TRAIN, masks=masks), epochs=1)
    misled, _ = trained(replace(TRAIN, masks=masks, labels=wrong), epochs=1)
    assert equal(right.network.state_dict(), misled.network.state_dict())


def test_validation_is_judged_under_its_masks():
    masks = VALIDATION.masks.copy()
    masks[:250, 0] = False
    masks[:, 1] = False
    judged = trainer.judge(network(), replace(VALIDATION, masks=masks))
    assert judged["vtr"]["rows"] == 50
    assert judged["vcr"]["rows"] == 0
    assert math.isnan(judged["vcr"]["mse"])


def test_a_task_of_weight_zero_is_not_learned():
    without, _ = trained(weights=(1.0, 0.0))
    assert without.best.validation["vtr"]["auc"] > 0.95
    assert without.best.validation["vcr"]["mse"] > 0.02


def test_the_averaged_weights_are_the_ones_judged_and_kept():
    plain, _ = trained(epochs=2)
    averaged, kept = trained(epochs=2, average=0.95)
    assert not equal(averaged.network.state_dict(), plain.network.state_dict())
    assert equal(averaged.network.state_dict(), kept[averaged.best.epoch - 1])
    assert averaged.best.validation["vcr"]["mse"] == pytest.approx(
        float(np.mean((predict_rows(averaged.network, VALIDATION)[:, 1] - VALIDATION.labels[:, 1]) ** 2))
    )


@pytest.mark.slow
def test_a_gradient_clip_and_a_falling_step_change_the_way_and_not_the_goal():
    falling = [{"schedule": schedule} for schedule in ("linear", "cosine", "exponential")]
    for changed in ({"gradient_clip": 0.5}, {"weight_decay": 0.1}, *falling):
        assert trained(**changed)[0].best.validation["vtr"]["auc"] > 0.95


def test_weight_decay_of_embeddings_leaves_the_other_weights_rule_alone():
    def tables(**changed):
        state = trained(learning_rate=0.01, weights=(0.0, 0.0), epochs=1, **changed)[0].network.state_dict()
        return state["tables.tables.0.weight"].norm(), sum(
            value.norm() for name, value in state.items() if "tables" not in name
        )

    embedding, rest = tables()
    decayed, unchanged = tables(embedding_weight_decay=0.5)
    assert decayed < embedding
    assert unchanged == rest


def test_every_row_is_trained_on_once_an_epoch():
    done = []
    fit(
        network(),
        FitPlan(CONFIG.model_copy(update={"epochs": 2, "batch": 300}), [1.0, 1.0], TRAIN, VALIDATION),
        on(StepDone, lambda step: done.append((step.epoch, step.rows))),
    )
    assert done == [(epoch, rows) for epoch in (1, 2) for rows in (300, 600, 900, 1000)]


def test_no_rows_make_no_predictions():
    none = VALIDATION.take(np.zeros(300, bool))
    assert predict_rows(network(), none).shape == (0, 2)


EVERYTHING = {
    "average": 0.9,
    "schedule": "cosine",
    "warmup": 0.1,
    "weight_decay": 0.1,
    "id_weight_decay": 1.0,
    "gradient_clip": 1.0,
    "checkpoint_seconds": 0.0,
}
DROPOUTS = {"dropout": 0.2, "embedding_dropout": 0.1, "id_dropout": 0.3}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changed", "dropouts"),
    [
        ({"checkpoint_seconds": 0.0}, {}),
        (EVERYTHING | {"loss_weights": FixedLossWeights()}, DROPOUTS),
        (EVERYTHING | {"loss_weights": UncertaintyLossWeights(kind="uncertainty")}, DROPOUTS),
        (
            EVERYTHING
            | {"loss_weights": DecayedLossWeights(kind="decayed", ratio={"vcr": 0.99}, every="step")},
            DROPOUTS,
        ),
        (EVERYTHING | {"precision": "bf16"}, DROPOUTS),
        (EVERYTHING | {"embedding_updates": "sparse"}, DROPOUTS),
        (EVERYTHING | {"embedding_updates": "sparse", "precision": "bf16"}, DROPOUTS),
    ],
    ids=["plain", "everything", "uncertainty", "decayed", "bf16", "sparse", "sparse-bf16"],
)
def test_a_training_killed_anywhere_and_resumed_ends_as_if_it_had_not_been(changed, dropouts):
    """48 steps, 16 an epoch: killed within an epoch, in its last step, in the next one's first, and late."""
    config = CONFIG.model_copy(update={"epochs": 3} | changed)
    whole = fit(network(**dropouts), FitPlan(config, [1.0, 0.5], TRAIN, VALIDATION))
    chance = random.Random(11)
    # At times an older checkpoint is all there is.
    for steps, back in ((chance.randrange(2, 16), 1), (17, 1), (chance.randrange(34, 48), 1), (31, 9)):
        kept = stopped_after(steps, config, **dropouts)
        # Another seed: nothing of a fresh network may remain.
        fresh, checkpoint = network(seed=99, **dropouts), read(kept[-back])
        resumed = fit(fresh, FitPlan(config, [1.0, 0.5], TRAIN, VALIDATION), resume=checkpoint)
        assert equal(resumed.network.state_dict(), whole.network.state_dict())
        assert resumed.epochs == whole.epochs
        assert resumed.best == whole.best


def test_a_resumed_training_takes_only_the_steps_that_are_left():
    config = CONFIG.model_copy(update={"epochs": 2, "batch": 300, "checkpoint_seconds": 0.0})
    checkpoint = read(stopped_after(4, config)[-1])
    # The fourth step was taken, but its checkpoint never made.
    assert (checkpoint["epoch"], checkpoint["rows"], checkpoint["step"]) == (1, 900, 3)
    done = []
    fit(
        network(),
        FitPlan(config, [1.0, 0.5], TRAIN, VALIDATION),
        on(StepDone, lambda step: done.append((step.epoch, step.rows))),
        resume=checkpoint,
    )
    assert done == [(1, 1000), *((2, rows) for rows in (300, 600, 900, 1000))]


@pytest.mark.slow
def test_resuming_neither_stops_later_nor_earlier_for_want_of_patience(monkeypatch):
    verdicts = [0.5, 0.7, 0.6, 0.65, 0.9, 0.9]
    config = CONFIG.model_copy(update={"epochs": 6, "patience": 2, "checkpoint_seconds": 1e9})
    scripted(monkeypatch, verdicts)
    whole, _ = trained(epochs=6, patience=2)
    for after in (1, 2, 3):
        scripted(monkeypatch, verdicts)
        checkpoint = read(stopped_after(16 * after + 1, config)[-1])
        assert len(checkpoint["epochs"]) == after
        scripted(monkeypatch, verdicts[after:])
        resumed = fit(network(), FitPlan(config, [1.0, 0.5], TRAIN, VALIDATION), resume=checkpoint)
        assert [report.epoch for report in resumed.epochs] == [report.epoch for report in whole.epochs]
        assert resumed.best.epoch == whole.best.epoch == 2


def test_a_finished_training_resumed_has_its_outcome_and_trains_no_more():
    kept = []
    whole = fit(
        network(),
        FitPlan(CONFIG, [1.0, 1.0], TRAIN, VALIDATION),
        on(CheckpointDue, lambda due: kept.append(written(due.state))),
    )
    checkpoint = read(kept[-1])
    assert checkpoint["finished"]
    assert "optimizer" not in checkpoint
    resumed = fit(
        network(seed=99),
        FitPlan(CONFIG, [1.0, 1.0], TRAIN, VALIDATION),
        pytest.fail,
        resume=checkpoint,
    )
    assert equal(resumed.network.state_dict(), whole.network.state_dict())
    assert resumed.best == whole.best


def test_checkpoints_lie_as_far_apart_as_asked_for_and_at_each_epochs_end(monkeypatch):
    clock = iter(range(10_000))
    # The trainer's own clock: other threads read the system's.
    monkeypatch.setattr(trainer, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    places = []
    fit(
        network(),
        FitPlan(
            CONFIG.model_copy(update={"epochs": 2, "checkpoint_seconds": 5.0}), [1.0, 1.0], TRAIN, VALIDATION
        ),
        on(CheckpointDue, lambda due: places.append((due.state["epoch"], due.state["rows"]))),
    )
    assert places == [(1, 320), (1, 640), (1, 960), (2, 0), (2, 320), (2, 640), (2, 960), (3, 0)]


def test_checkpoints_change_nothing():
    plain, _ = trained(epochs=2)
    kept = []
    config = CONFIG.model_copy(update={"epochs": 2, "checkpoint_seconds": 0.0})
    with_them = fit(network(), FitPlan(config, [1.0, 1.0], TRAIN, VALIDATION), on(CheckpointDue, kept.append))
    assert len(kept) == 34
    assert equal(with_them.network.state_dict(), plain.network.state_dict())


def test_the_checkpoint_of_another_network_is_refused():
    checkpoint = read(stopped_after(20, CONFIG.model_copy(update={"checkpoint_seconds": 0.0}))[-1])
    torch.manual_seed(1)
    other = build_network(
        PLEConfig(levels=2, expert=(16,), tower=(8,)),
        user=SideSpec((FieldSpec("user", EmbeddingSpec("user", 6, 4)),)),
        item=SideSpec(numeric=1),
        tasks=HEADS,
    )
    with pytest.raises(FulcrumError, match="the checkpoint does not fit this network or version: "):
        fit(other, FitPlan(CONFIG, [1.0, 1.0], TRAIN, VALIDATION), resume=checkpoint)
    with pytest.raises(FulcrumError, match=r"the checkpoint does not fit .*'epochs'"):
        fit(network(), FitPlan(CONFIG, [1.0, 1.0], TRAIN, VALIDATION), resume={})


def test_decayed_weights_turn_the_training_away_from_a_task():
    decayed = DecayedLossWeights(kind="decayed", ratio={"vcr": 1e-3}, every="step")
    without, kept = trained(loss_weights=decayed), trained()
    assert without[0].best.validation["vtr"]["auc"] > 0.95
    assert without[0].best.validation["vcr"]["mse"] > 5 * kept[0].best.validation["vcr"]["mse"]
    assert without[0].epochs[0].loss_weights == {"vtr": 1.0, "vcr": pytest.approx(1e-45, abs=1e-40)}
    by_epoch = DecayedLossWeights(kind="decayed", ratio={"vcr": 0.5})
    reports = trained(loss_weights=by_epoch, weights=(1.0, 3.0))[0].epochs
    assert [report.loss_weights["vcr"] for report in reports] == [3.0, 1.5, 0.75, 0.375]


def test_learned_weights_fall_with_a_tasks_noise_and_leave_with_the_training():
    learned, kept = trained(
        loss_weights=UncertaintyLossWeights(kind="uncertainty"), epochs=8, learning_rate=0.05
    )
    assert learned.best.validation["vtr"]["auc"] > 0.95
    assert learned.best.validation["vcr"]["mse"] < 0.01
    weights = learned.epochs[-1].loss_weights
    # The regression's loss is far the smaller one, so its weight has grown.
    assert weights["vcr"] > 2.0
    assert set(kept[0]) == set(network().state_dict())


def test_the_epochs_are_compared_by_the_weights_of_the_recipe(monkeypatch):
    monkeypatch.setattr(trainer, "judge", lambda *_: {"vtr": {"logloss": 0.5}, "vcr": {"mse": 0.25}})
    outcome, _ = trained(
        monitor=Monitor(metric="loss", mode="min"),
        weights=(2.0, 4.0),
        epochs=3,
        loss_weights=DecayedLossWeights(kind="decayed", ratio={"vcr": 0.1}),
    )
    assert [report.monitored for report in outcome.epochs] == [2.0] * 3
