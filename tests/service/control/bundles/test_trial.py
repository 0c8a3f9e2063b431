"""Trials: what would take the service down is refused by what it did to another process."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from model.errors import FulcrumError
from service.control.bundles import trial
from service.control.bundles.catalog import Catalog
from service.control.bundles.trial import Trials
from tests.support.bundle_variants import write_variant


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
        ("exec sleep 600", r"took more than 0 s", 0.3),
    ],
)
def test_a_crash_or_a_hang_is_a_refusal(model, tmp_path, monkeypatch, does, says, timeout_s):
    monkeypatch.setattr(sys, "executable", python_that(does, tmp_path))
    monkeypatch.setattr(trial, "_TIMEOUT_S", timeout_s)
    trials = Trials("cpu", "fp32", tmp_path)
    for _ in range(2):
        with pytest.raises(FulcrumError, match=says) as refused:
            trials.run(model)
        assert str(model.path) in str(refused.value)
