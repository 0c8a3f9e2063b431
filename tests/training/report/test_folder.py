"""The report's folder: claimed for one report by one process, and asked which runs are done."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pytest

from model.errors import FulcrumError
from model.network.embedding import SideSpec
from model.network.heads import TaskHead
from model.network.trunks import network_config
from training.recipe import Monitor, TrainingConfig
from training.report.budget import Budget
from training.report.folder import ReportFolder
from training.report.run import Job, Part, paths

PLAN = {"recipe": {"name": "tiny", "training": {"epochs": 3}}, "match": "parameters"}


@pytest.fixture
def folder(tmp_path):
    folder = ReportFolder(tmp_path / "report")
    yield folder
    folder.release()


@pytest.fixture
def job(folder):
    training = TrainingConfig(monitor=Monitor(metric="vtr.auc", mode="max"))
    return Job(
        model="mmoe",
        seed=4,
        network=network_config({"model": "mmoe", "experts": 2, "expert": [4], "tower": []}),
        budget=Budget(10, 20.0),
        parts=(Part((0,), training, (1.0,)),),
        heads=(TaskHead("vtr", "binary"),),
        user=SideSpec(numeric=1),
        item=SideSpec(numeric=1),
        minutes=5.0,
        folder=folder.runs,
    )


def write(job, status, minutes=5.0, predictions=True):
    """A run's files as if it had been carried out."""
    job.folder.mkdir(parents=True, exist_ok=True)
    record, predicted = paths(job.folder, job.name)
    record.write_bytes(orjson.dumps({"settings": job.settings, "status": status, "minutes": minutes}))
    if predictions:
        np.savez_compressed(predicted, predictions=np.ones((3, 1), np.float32))


def test_the_report_of_a_folder_may_be_claimed_again_and_learn_more(folder):
    folder.claim(PLAN)
    folder.release()
    folder.claim({**PLAN, "data": "sha256:d"})
    assert orjson.loads((folder.path / "plan.json").read_bytes()) == {**PLAN, "data": "sha256:d"}
    folder.release()
    folder.claim(PLAN)
    assert orjson.loads((folder.path / "plan.json").read_bytes()) == {**PLAN, "data": "sha256:d"}


def test_a_folder_of_another_report_is_refused_with_what_differs_and_left_free(folder):
    folder.claim(PLAN)
    folder.release()
    other = {**PLAN, "recipe": {"name": "tiny", "training": {"epochs": 5}}}
    with pytest.raises(FulcrumError, match=r"recipe\.training\.epochs is 3 there and 5 here; name another"):
        folder.claim(other)
    ReportFolder(folder.path).claim(PLAN)
    assert orjson.loads((folder.path / "plan.json").read_bytes()) == PLAN


def test_of_many_differences_three_are_named_and_the_others_counted(folder):
    folder.claim({str(key): 0 for key in range(5)})
    folder.release()
    with pytest.raises(FulcrumError, match="2 is 0 there and 1 here and 2 more; name another folder"):
        folder.claim({str(key): 1 for key in range(5)})


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_something_else_is_refused_and_left_as_it_is(folder, kind):
    if kind == "file":
        folder.path.write_text("precious")
    else:
        folder.path.mkdir()
        (folder.path / "notes.txt").write_text("precious")
    with pytest.raises(
        FulcrumError,
        match=r"report .*report: (expected a folder, found a file|it holds something else); name another",
    ):
        folder.claim(PLAN)
    assert kind == "file" or [path.name for path in folder.path.iterdir()] == ["notes.txt"]


def test_one_at_a_time_works_in_it(folder):
    folder.claim(PLAN)
    other = ReportFolder(folder.path)
    with pytest.raises(FulcrumError, match="another process is making it; wait for that"):
        other.claim(PLAN)
    folder.release()
    other.claim(PLAN)
    other.release()


@pytest.mark.parametrize("status", ["finished", "diverged", "stopped"])
def test_a_run_that_ended_is_done(folder, job, status):
    assert folder.record(job) is None
    write(job, status)
    assert folder.record(job)["status"] == status


def test_what_failed_is_tried_again_and_what_was_stopped_if_there_is_more_time(folder, job):
    write(job, "failed")
    assert folder.record(job) is None
    write(job, "stopped", minutes=5.0)
    assert folder.record(job) is not None
    assert folder.record(replace(job, minutes=6.0)) is None


def test_a_run_under_other_settings_or_torn_or_without_its_predictions_is_not_done(folder, job):
    write(job, "finished")
    wider = network_config({"model": "mmoe", "experts": 2, "expert": [5], "tower": []})
    assert folder.record(replace(job, network=wider)) is None
    record, predicted = paths(folder.runs, job.name)
    predicted.unlink()
    assert folder.record(job) is None
    record.write_bytes(record.read_bytes()[:-3])
    assert folder.record(job) is None


def test_predictions_are_those_that_the_run_wrote(folder, job):
    write(job, "finished")
    assert folder.predictions(job.name).tolist() == [[1.0]] * 3
