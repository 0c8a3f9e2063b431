"""The run folder: what is kept can be read again, whole."""

from __future__ import annotations

import orjson
import pytest
import torch

from model.errors import FulcrumError
from training.recipe import load_recipe
from training.run_folder import RunFolder


def test_epochs_are_appended_and_the_best_weights_replaced(tmp_path):
    folder = RunFolder(tmp_path / "deep" / "run", load_recipe("demo"), "data")
    for epoch in (1, 2):
        folder.record({"epoch": epoch})
        folder.keep({"weight": torch.full((2,), float(epoch))})
    lines = (folder.path / "metrics.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["epoch"] for line in lines] == [1, 2]
    assert torch.load(folder.path / "best.pt", weights_only=True)["weight"].tolist() == [2.0, 2.0]


def test_weights_that_fail_to_be_written_leave_the_former_ones(tmp_path, monkeypatch):
    folder = RunFolder(tmp_path, load_recipe("demo"), "data")
    folder.keep({"weight": torch.ones(2)})

    def crash(_, path):
        path.write_bytes(b"half")
        raise OSError("no space left on device")

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(OSError, match="no space left"):
        folder.keep({"weight": torch.zeros(2)})
    assert torch.load(tmp_path / "best.pt", weights_only=True)["weight"].tolist() == [1.0, 1.0]


def test_a_folder_that_holds_a_run_takes_no_other(tmp_path):
    RunFolder(tmp_path, load_recipe("demo"), "data")
    with pytest.raises(FulcrumError, match="there is a run in this folder already; name another one"):
        RunFolder(tmp_path, load_recipe("bench"), "data")
