"""A training that is killed and resumed: the same run folder and the same bundle as of one that was not."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import orjson
import polars as pl
import pytest
import torch

import fulcrum
from model.bundle import load_bundle
from model.errors import FulcrumError
from training import train as train_module
from training.fitting.trainer import StepDone
from training.progress import Note
from training.recipe import load_recipe
from training.train import TrainingPlan, train_bundle

# All that carries state from step to step.
HARD = [
    "training.epochs=4",
    "training.batch=48",
    "training.average=0.9",
    "training.precision=bf16",
    "training.embedding_updates=sparse",
    "training.schedule=cosine",
    "training.warmup=0.1",
    "training.id_weight_decay=1.0",
    "training.loss_weights={kind: uncertainty}",
    "network.dropout=0.2",
    "network.id_dropout=0.3",
]
STEPS = 4 * 20

# The command line, which kills itself after a step or halfway through writing a checkpoint.
KILLED = """
import os, signal, sys
import torch
import fulcrum
from training import train
from training.fitting.trainer import StepDone

when, left = sys.argv[1], int(sys.argv[2])
sys.argv = ["fulcrum", *sys.argv[3:]]
fit, save = train.fit, torch.save

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def counted(network, plan, observer, **more):
    def count(event):
        global left
        observer(event)
        left -= when == "step" and isinstance(event, StepDone)
        if left == 0:
            die()
    return fit(network, plan, count, **more)

def torn(state, file):
    global left
    save(state, file)
    left -= when == "checkpoint" and "checkpoint.pt" in file.name
    if left == 0:
        file.flush()
        os.truncate(file.fileno(), file.tell() // 2)
        die()

train.fit, torch.save = counted, torn
fulcrum.main()
"""


class Interrupted(Exception):  # noqa: N818
    """Stands for the end of the process."""


def notes(plan):
    """What a training notes."""
    events = []
    train_bundle(plan, events.append)
    return [event.text for event in events if isinstance(event, Note)]


def files(run):
    """What a run's folder says of the training itself."""
    return (run / "metrics.jsonl").read_bytes(), torch.load(run / "best.pt", weights_only=True)


def assert_same(one, other):
    assert one[0] == other[0]
    assert one[1].keys() == other[1].keys()
    assert all(torch.equal(tensor, other[1][name]) for name, tensor in one[1].items())


@pytest.mark.long
@pytest.mark.parametrize("streamed", [False, True], ids=["in memory", "streamed"])
def test_a_run_killed_at_random_steps_and_resumed_is_the_same_to_the_last_bit(trained, tmp_path, streamed):
    chance = random.Random(20260301)
    run, bundle, data = tmp_path / "run", tmp_path / "bundle", trained.data
    # In one life there is a checkpoint after every step, in the others now and then.
    lives = [
        ("checkpoint", chance.randrange(2, STEPS // 4), 0.0),
        ("step", chance.randrange(1, STEPS // 3), 0.05),
    ]
    hard = list(HARD)
    if streamed:
        data = shutil.copytree(data, tmp_path / "data")
        pl.read_csv(data / "log.csv").write_parquet(data / "log.parquet")
        # Five buffers an epoch, and batches that span them.
        hard += ["data.log=log.parquet", "training.stream={chunk: 500, block: 20, buffer: 200}"]
    words = ["train", "--recipe", trained.recipe, "--data", data, "--out", bundle, "--run", run]
    for when, count, seconds in lives:
        sets = [*hard, f"training.checkpoint_seconds={seconds}"]
        flags = [word for setting in sets for word in ("--set", setting)]
        done = subprocess.run(
            [sys.executable, "-c", KILLED, when, str(count), *map(str, words), *flags, "--resume"],
            cwd=Path(fulcrum.__file__).parent,
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not bundle.exists()

    recipe, version = load_recipe(trained.recipe, hard), None
    for folder, resume in ((tmp_path / "whole", False), (run, True)):
        made = train_bundle(
            TrainingPlan(recipe, folder.parent / f"{folder.name}-bundle", data, folder, resume=resume)
        )
        version = version or made.manifest.version
        assert made.manifest.version == version
    assert_same(files(run), files(tmp_path / "whole"))
    exported, expected = tmp_path / "run-bundle", tmp_path / "whole-bundle"
    assert (exported / "network.onnx").read_bytes() == (expected / "network.onnx").read_bytes()
    assert load_bundle(exported).manifest.metrics == load_bundle(expected).manifest.metrics
    assert len(orjson.loads((run / "run.json").read_bytes())["resumed"]) == len(lives)


def test_a_finished_run_says_so_and_makes_its_bundle_again(trained, tmp_path):
    run = shutil.copytree(trained.run, tmp_path / "run")
    before = files(run)
    recipe, events = load_recipe(trained.recipe), []
    train_bundle(TrainingPlan(recipe, tmp_path / "bundle", trained.data, run, resume=True), events.append)
    assert Note(f"the run in {run} is finished: only its bundle is made again") in events
    assert not any(isinstance(event, StepDone) for event in events)
    assert_same(files(run), before)
    again, first = load_bundle(tmp_path / "bundle").manifest, load_bundle(trained.bundle).manifest
    assert (again.version, again.metrics, again.training["best_epoch"]) == (
        first.version,
        first.metrics,
        first.training["best_epoch"],
    )


def interrupted(trained, tmp_path, monkeypatch, name, *, sets=(), **more):
    """Train until a call of this name of the run folder."""

    def crash(self, *_):
        raise Interrupted

    recipe = load_recipe(trained.recipe, sets)
    with monkeypatch.context() as broken:
        broken.setattr(train_module.RunFolder, name, crash)
        with pytest.raises(Interrupted):
            train_bundle(TrainingPlan(recipe, tmp_path / "bundle", trained.data, tmp_path / "run", **more))


def test_a_run_killed_around_an_epochs_end_has_each_epoch_once(trained, tmp_path, monkeypatch):
    """Before its first checkpoint, between metrics and checkpoint, and between metrics and best weights."""
    run, expected = tmp_path / "run", files(trained.run)
    interrupted(trained, tmp_path, monkeypatch, "checkpoint")
    assert (run / "metrics.jsonl").read_bytes().count(b"\n") == 1
    assert not (run / "checkpoint.pt").exists()
    interrupted(trained, tmp_path, monkeypatch, "keep", resume=True)
    assert not (run / "best.pt").exists()

    monkeypatch.setattr(train_module, "write_bundle", lambda *_, **__: None)
    plan = TrainingPlan(load_recipe(trained.recipe), tmp_path / "bundle", trained.data, run, resume=True)
    assert f"{run} has no checkpoint yet: from the beginning" in notes(plan)
    assert_same(files(run), expected)


def test_a_resumed_run_says_where_it_goes_on(trained, tmp_path, monkeypatch):
    recipe = load_recipe(trained.recipe, ["training.checkpoint_seconds=0"])
    plan, left = TrainingPlan(recipe, tmp_path / "bundle", trained.data, tmp_path / "run", resume=True), 20

    def count(event):
        nonlocal left
        left -= isinstance(event, StepDone)
        if left == 0:
            raise Interrupted

    with pytest.raises(Interrupted):
        train_bundle(plan, count)
    monkeypatch.setattr(train_module, "write_bundle", lambda *_, **__: None)
    # 15 steps an epoch: of 20 the last one's checkpoint was never made.
    assert "resumed in epoch 2 of 3, 256 of 960 rows done" in notes(plan)
    assert_same(files(tmp_path / "run"), files(trained.run))


def test_a_run_that_cannot_be_resumed_is_refused_before_any_data_is_read(trained, tmp_path):
    def resume(run, **more):
        recipe = load_recipe(trained.recipe, **more)
        train_bundle(TrainingPlan(recipe, tmp_path / "bundle", tmp_path / "nowhere", run, resume=True))

    with pytest.raises(FulcrumError, match="to resume a run, name its folder"):
        resume(None)
    with pytest.raises(FulcrumError, match=r"another recipe: training\.seed is 3 there and 4 here"):
        resume(trained.run, overrides=["training.seed=4"])
    with pytest.raises(FulcrumError, match="no such folder"):
        resume(trained.run)


def test_a_run_is_not_resumed_on_other_data(trained, tmp_path):
    run = shutil.copytree(trained.run, tmp_path / "run")
    data = shutil.copytree(trained.data, tmp_path / "data")
    with (data / "log.csv").open("a") as file:
        file.write("1,1,1199,0,500,0\n")
    with pytest.raises(FulcrumError, match=r"the run in .* was started on other data: xxh3:"):
        train_bundle(TrainingPlan(load_recipe(trained.recipe), tmp_path / "bundle", data, run, resume=True))
    assert not (tmp_path / "bundle").exists()
