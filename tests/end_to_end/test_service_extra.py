"""The service's own environment: what a serving machine installs ranks, and holds no torch."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path

import pytest

from tests.support.harness import World, serving

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def serving_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("serving-environment")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run([ROOT / ".ci" / "install", home, f"{ROOT}[service]"], check=True, timeout=600)
    return python


def test_the_service_extra_serves_a_bundle_without_torch(
    serving_python: Path, world: World, tmp_path: Path
) -> None:
    installed = subprocess.run(
        [serving_python, "-m", "pip", "list", "--format=freeze"], capture_output=True, text=True, check=True
    ).stdout
    names = {line.partition("==")[0].lower() for line in installed.splitlines()}
    assert names.isdisjoint({"torch", "polars", "onnx", "onnxscript"})
    words = ("--bundle", world.bundle, "--features", world.store, "--fusion", world.fusion)
    with serving(*words, log=tmp_path / "log", python=serving_python) as client:
        request = {"user_id": "u1", "candidate_ids": ["v1", "v2", "v3"], "context": {"hour": 9}}
        answer = client.post("/v1/rank", json=request).json()
    assert answer["scored"] == 3
    assert {item["status"] for item in answer["items"]} == {"ok"}


def test_training_without_its_extra_says_how_to_install_it(serving_python: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [serving_python.with_name("fulcrum"), "train", "--recipe", "demo", "--out", str(tmp_path / "b")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "needs the extra `training`" in done.stderr
    assert "Traceback" not in done.stderr
