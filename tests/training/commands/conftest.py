"""What commands that read a log find in place of a bundle."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.world_logs import TASKS
from training.recipe import load_recipe


@pytest.fixture
def demo_bundle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever is asked for, is a bundle of the demo recipe without a network."""
    bundle = SimpleNamespace(
        schema=load_recipe("demo").data_schema,
        version="sha256:bundle",
        task_names=list(TASKS),
        path=tmp_path / "bundle",
    )
    monkeypatch.setattr("model.bundle.load_bundle", lambda path: bundle)
