"""Trials: what would take the service down is refused by what it did to another process."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from model.errors import FulcrumError
from service.control.bundles import trial
from service.control.bundles.catalog import Catalog
from service.control.bundles.loading import UnfitError
from service.control.bundles.trial import Trials
from service.inference.providers import ProviderError
from tests.support.bundle_variants import write_edited, write_variant


@pytest.fixture
def model(world, tmp_path):
    write_variant(world.bundle, tmp_path / "models" / "good", 1)
    return Catalog(tmp_path / "models").models[0]


def python_that(does: str, folder: Path) -> str:
    script = folder / "python"
    script.write_text(f"#!/bin/sh\n{does}\n")
    script.chmod(0o755)
    return str(script)


@pytest.mark.slow
def test_a_good_bundle_passes_and_is_tried_once(model, tmp_path, monkeypatch):
    trials = Trials("cpu", "fp32", tmp_path)
    trials.run(model)
    monkeypatch.setattr(sys, "executable", "/nowhere")
    trials.run(model)
    Trials("cpu", "fp32", tmp_path).run(model)


@pytest.mark.slow
def test_a_bundle_that_misses_its_sample_is_refused_in_its_words(world, tmp_path):
    write_variant(world.bundle, tmp_path / "models" / "bad", 1, flaw="misfit")
    with pytest.raises(FulcrumError, match="predictions of vtr differ from the parity sample"):
        Trials("cpu", "fp32", None).run(Catalog(tmp_path / "models").models[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("does", "says", "timeout_s"),
    [
        ("kill -SEGV $$", "ended by SIGSEGV", 60),
        ("kill -KILL $$", "ended by SIGKILL", 60),
        ("echo 'MemoryError: too much' >&2; exit 1", "MemoryError: too much", 60),
        ("exit 3", "exit code 3", 60),
        ("echo 'bundle file x is unreadable'; exit 2", "x is unreadable", 60),
        ("exec sleep 600", r"took more than 0 s", 0.3),
    ],
)
def test_a_crash_or_a_hang_is_a_refusal_and_no_verdict(model, tmp_path, monkeypatch, does, says, timeout_s):
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", python_that(does, tmp_path))
        patched.setattr(trial, "_TIMEOUT_S", timeout_s)
        trials = Trials("cpu", "fp32", tmp_path)
        with pytest.raises(FulcrumError, match=says) as refused:
            trials.run(model)
        assert str(model.path) in str(refused.value) or "file x" in says + str(refused.value)
        assert not isinstance(refused.value, UnfitError)
    monkeypatch.setattr(sys, "executable", python_that("exit 0", tmp_path))
    trials.run(model)  # the next trial passes
    monkeypatch.setattr(sys, "executable", "/nowhere")
    trials.run(model)  # which is remembered


@pytest.mark.slow
def test_a_verdict_on_the_content_is_remembered_by_all_workers(model, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", python_that("echo 'it is bad'; exit 1", tmp_path))
    with pytest.raises(UnfitError, match="it is bad"):
        Trials("cpu", "fp32", tmp_path).run(model)
    monkeypatch.setattr(sys, "executable", "/nowhere")
    with pytest.raises(UnfitError, match="it is bad"):
        Trials("cpu", "fp32", tmp_path).run(model)


@pytest.mark.slow
def test_a_run_directory_that_is_gone_only_costs_trials(model, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", python_that("exit 0", tmp_path))
    Trials("cpu", "fp32", tmp_path / "cleaned").run(model)


@pytest.mark.slow
def test_a_network_that_needs_more_memory_than_a_worker_has_is_refused(world, tmp_path):
    def widen(folder: Path) -> None:
        """Ones of 3 GiB, whose mean is multiplied in."""
        network = onnx.load(folder / "network.onnx")
        one = numpy_helper.from_array(np.ones(1, np.float32))
        size = numpy_helper.from_array(np.array([3 << 28]), "size")
        network.graph.initializer.append(size)
        (last,) = [node for node in network.graph.node if "vtr" in node.output]
        last.output[0] = "before"
        network.graph.node.extend(
            [
                helper.make_node("ConstantOfShape", ["size"], ["ones"], value=one),
                helper.make_node("ReduceMean", ["ones"], ["mean"], keepdims=0),
                helper.make_node("Mul", ["before", "mean"], ["vtr"]),
            ]
        )
        onnx.save(network, folder / "network.onnx")

    (tmp_path / "models").mkdir()
    write_edited(world.bundle, tmp_path / "models" / "wide", widen)
    model = Catalog(tmp_path / "models").models[0]
    with pytest.raises(UnfitError, match=r"[Aa]llocate|memory|bad_alloc"):
        Trials("cpu", "fp32", None, memory_bytes=1 << 30).run(model)


def caused(error: Exception | None, cause: Exception | None) -> Exception:
    error = error or FulcrumError("bundle x")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (caused(None, None), False),
        (caused(None, ValueError("not JSON")), False),
        (caused(None, FileNotFoundError(2, "No such file")), False),
        (caused(None, PermissionError(13, "Permission denied")), True),
        (caused(None, caused(ValueError("x"), OSError(24, "Too many open files"))), True),
        (ProviderError("provider cuda"), True),
    ],
)
def test_what_the_system_refused_may_pass_and_what_the_bundle_holds_does_not(error, passes):
    assert trial._may_pass(error) is passes


def test_a_trial_has_more_time_and_memory_the_more_there_is_to_read(model, monkeypatch):
    given = []
    monkeypatch.setattr(trial, "_tried", lambda *words: given.append(words[-2:]) or ("", True))
    trials = Trials("cpu", "fp32", None, memory_bytes=1 << 30)
    for number, size in enumerate((0, 500_000_000, 1 << 50)):
        trials.run(dataclasses.replace(model, signature=(("network.onnx", number, size, 1),)))
    assert given == [(60.0, 1 << 30), (70.0, (1 << 30) + 500_000_000), (600.0, (1 << 30) + (1 << 50))]
