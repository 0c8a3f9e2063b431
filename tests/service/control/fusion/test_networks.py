"""Networks of learned formulas: tried in a process of their own before a worker opens them, and only once."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from model.fusion import FusionConfig, FusionError, parse_fusion
from service.control.fusion import networks
from service.control.fusion.networks import Networks, TrialError
from tests.support.learned_networks import Graph, filled, learned_config, monotone

pytestmark = pytest.mark.slow


def config_of(folder: Path, content: bytes, **changes) -> FusionConfig:
    (folder / "score.onnx").write_bytes(content)
    return parse_fusion(str(learned_config(content, **changes)))


def large(side: int, products: int) -> bytes:
    """Scores to which the mean of a square of `side` is added, after products of it with itself."""
    graph = Graph()
    sums = graph("ReduceSum", [filled(graph), graph.constant([1], np.int64)], keepdims=1)
    rows = graph("Gather", [graph("Shape", ["x"]), graph.constant([0], np.int64)])
    some = graph("Min", [rows, graph.constant([1], np.int64)])  # known at no load: nothing is folded
    size = graph("Mul", [some, graph.constant([side, side], np.int64)])
    square = graph("Expand", [graph.constant(0.5), size])
    for _ in range(products):
        square = graph("MatMul", [square, square])
    return graph.finish(graph("Add", [sums, graph("ReduceMean", [square], keepdims=0)]))


def python_that(does: str, folder: Path) -> str:
    script = folder / "python"
    script.write_text(f"#!/bin/sh\n{does}\n")
    script.chmod(0o755)
    return str(script)


def test_a_network_is_tried_once_whatever_else_of_the_config_changes(tmp_path, monkeypatch):
    content, run = monotone(), tmp_path / "run"
    run.mkdir()
    config = config_of(tmp_path, content)
    opened = Networks(run)
    first = opened.of(config, tmp_path)
    monkeypatch.setattr(sys, "executable", "/nowhere")
    again = opened.of(config_of(tmp_path, content, fallback="default"), tmp_path)
    assert list(again.values()) == list(first.values())
    others = Networks(run).of(config, tmp_path)  # another worker
    given = np.full((3, 5), 0.25, np.float32)
    assert [one(given).tolist() for one in others.values()] == [one(given).tolist() for one in first.values()]
    with pytest.raises(TrialError, match="could not begin"):
        opened.of(config_of(tmp_path, monotone(seed=1)), tmp_path)


def test_a_network_that_is_no_good_is_refused_by_all_after_one_trial(tmp_path, monkeypatch):
    config = config_of(tmp_path, monotone(flaw="drop"))
    for workers in (Networks(tmp_path), Networks(tmp_path)):
        with pytest.raises(
            FusionError, match=r"scenes\.learned: network score\.onnx: not monotone"
        ) as refused:
            workers.of(config, tmp_path)
        assert not isinstance(refused.value, TrialError)
        monkeypatch.setattr(sys, "executable", "/nowhere")


def test_a_network_without_an_end_or_beyond_memory_is_refused_and_harms_nobody(tmp_path, monkeypatch):
    with pytest.raises(FusionError, match=r"[Aa]llocate|memory|bad_alloc"):
        Networks().of(config_of(tmp_path, large(30_000, 0)), tmp_path)
    monkeypatch.setattr(networks, "_TIMEOUT_S", 3.0)
    with pytest.raises(TrialError, match="a trial load took more than 3 s"):
        Networks().of(config_of(tmp_path, large(3000, 100)), tmp_path)


def test_a_trial_that_crashed_is_no_verdict(tmp_path, monkeypatch):
    config, opened = config_of(tmp_path, monotone()), Networks(tmp_path)
    monkeypatch.setattr(sys, "executable", python_that("kill -SEGV $$", tmp_path))
    with pytest.raises(TrialError, match="ended by SIGSEGV"):
        opened.of(config, tmp_path)
    monkeypatch.undo()
    assert len(opened.of(config, tmp_path)) == 1


def test_a_worker_that_starts_later_opens_what_the_others_serve(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    config = config_of(tmp_path, monotone())
    served = Networks(run).of(config, tmp_path)
    (tmp_path / "score.onnx").write_bytes(b"another")
    with pytest.raises(FusionError, match="its sha256 is"):
        Networks(run).of(config, tmp_path)
    assert Networks(run).of(config, tmp_path, kept=True).keys() == served.keys()
    assert Networks().of(config, tmp_path, kept=True) == {}
