"""The watched fusion file with learned formulas: config and network are in force together, or neither."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
import yaml

from model.fusion.formulas.learned import MAX_MODEL_BYTES
from service.control.fusion import file as watching
from service.control.fusion.file import FusionFile
from service.control.fusion.networks import Networks
from service.processes.board import Board
from tests.support.learned_networks import learned_config, monotone, write_learned

pytestmark = pytest.mark.slow

TASKS = ["vtr", "vcr", "shr", "cmr"]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """What trials said: no network of this module is tried twice."""
    return tmp_path_factory.mktemp("run")


@pytest.fixture
def watched(tmp_path, run) -> FusionFile:
    write_learned(tmp_path / "fusion.yaml", monotone())
    return FusionFile(tmp_path / "fusion.yaml", TASKS, networks=Networks(run))


def settle(watched: FusionFile) -> str | None:
    """Why what the folder holds now is refused."""
    for _ in range(3):
        watched.poll()
    return watched.state.rejected and watched.state.rejected.error


def piped(path: Path, content: bytes) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda path, content: path.unlink(), "there is no such file"),
        (lambda path, content: path.write_bytes(content + b"\n"), "its sha256 is"),
        (lambda path, content: path.write_bytes(bytes(MAX_MODEL_BYTES + 1)), "larger than"),
        (piped, "it is not a regular file"),
    ],
)
def test_a_network_that_is_spoiled_is_named_while_the_one_before_ranks_until_it_is_back(
    watched, tmp_path, spoil, says
):
    before, content = watched.state.active, monotone()
    spoil(tmp_path / "score.onnx", content)
    error = settle(watched)
    assert error is not None
    assert f"{tmp_path / 'fusion.yaml'}: fusion config: scenes.learned: network score.onnx: " in error
    assert says in error
    assert "\n" not in error
    assert watched.state.active is before
    (tmp_path / "score.onnx").unlink(missing_ok=True)
    (tmp_path / "score.onnx").write_bytes(content)
    assert settle(watched) is None
    assert watched.state.active.version == before.version
    assert list(watched.state.active.scorers.values()) == list(before.scorers.values())


def test_a_network_that_may_not_rank_leaves_the_config_before_in_force(watched, tmp_path):
    before = watched.state.active
    write_learned(tmp_path / "fusion.yaml", monotone(flaw="drop"))
    assert "scenes.learned: network score.onnx: not monotone: shr" in settle(watched)
    assert watched.state.active is before


def test_a_network_that_comes_after_its_config_is_found(watched, tmp_path):
    (tmp_path / "fusion.yaml").write_text(yaml.safe_dump(learned_config(monotone(), file="other.onnx")))
    assert "network other.onnx: there is no such file" in settle(watched)
    (tmp_path / "other.onnx").write_bytes(monotone())
    assert settle(watched) is None
    assert watched.state.active.config.scenes["learned"].file == "other.onnx"


def test_an_edit_that_leaves_the_network_as_it_is_tries_nothing(watched, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere")
    before = watched.state.active
    write_learned(tmp_path / "fusion.yaml", monotone(), fallback="product", inputs=[*TASKS, "video_len_s"])
    assert settle(watched) is None
    (tmp_path / "fusion.yaml").write_text(
        (tmp_path / "fusion.yaml").read_text().replace("weight: 0.5", "weight: 0.75")
    )
    assert settle(watched) is None
    assert watched.state.active.version != before.version
    assert list(watched.state.active.scorers.values()) == list(before.scorers.values())


def test_a_trial_that_failed_is_repeated_after_a_pause(watched, tmp_path, monkeypatch):
    before = watched.state.active
    monkeypatch.setattr(sys, "executable", "/nowhere")
    write_learned(tmp_path / "fusion.yaml", monotone(seed=2))
    assert "a trial load could not begin" in settle(watched)
    monkeypatch.undo()
    assert settle(watched) is not None
    monkeypatch.setattr(watching.time, "monotonic", lambda: float("inf"))
    assert settle(watched) is None
    assert watched.state.active.version != before.version


def test_a_worker_that_starts_while_the_network_is_spoiled_ranks_as_the_others_do(tmp_path, run):
    place = Board(1).places[0]
    write_learned(tmp_path / "fusion.yaml", monotone())
    first = FusionFile(tmp_path / "fusion.yaml", TASKS, keep=place.fusion, networks=Networks(run))
    (tmp_path / "score.onnx").write_bytes(b"spoiled")
    later = FusionFile(tmp_path / "fusion.yaml", TASKS, keep=place.fusion, networks=Networks(run))
    assert "its sha256 is" in later.state.rejected.error
    assert later.state.active.version == first.state.active.version
    assert later.state.active.scorers.keys() == first.state.active.scorers.keys()
    (tmp_path / "score.onnx").write_bytes(monotone())
    assert settle(later) is None
