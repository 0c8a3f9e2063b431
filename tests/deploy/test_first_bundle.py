"""deploy/first_bundle.sh with a stand-in for `fulcrum` that writes down what it was asked."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

STORE = "redis://redis:6379/0"
FULCRUM = """#!/bin/sh
echo "$*" >> "$ASKED"
[ "$1" = "$FAILING" ] && exit 1
[ "$1" = train ] && mkdir -p "$5" && touch "$5/manifest.json"
exit 0
"""


class Job:
    """The script in a folder of its own."""

    def __init__(self, script: Path, folder: Path) -> None:
        self.script, self.folder, self.models = script, folder, folder / "models"
        (folder / "bin").mkdir()
        (folder / "bin" / "fulcrum").write_text(FULCRUM)
        (folder / "bin" / "fulcrum").chmod(0o755)

    def run(self, failing: str = "", store: str = STORE) -> tuple[int, list[str]]:
        """Exit status, and the commands that it ran."""
        asked = self.folder / "asked"
        asked.write_text("")
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "ASKED": str(asked),
            "FAILING": failing,
            "FULCRUM_MODELS": str(self.models),
            "FULCRUM_FEATURES": store,
        }
        done = subprocess.run([self.script], env=environment, capture_output=True, timeout=120)
        return done.returncode, [line.split()[0] for line in asked.read_text().splitlines()]


@pytest.fixture
def job(root: Path, tmp_path: Path) -> Job:
    return Job(root / "deploy" / "first_bundle.sh", tmp_path)


def test_the_first_time_it_trains_and_publishes(job: Job) -> None:
    assert job.run() == (0, ["train", "publish"])
    asked = (job.folder / "asked").read_text().splitlines()
    assert asked[0].startswith(f"train --recipe demo --out {job.models}/demo --run ")
    assert asked[1] == f"publish {job.models}/demo --to {STORE}"


def test_a_bundle_that_is_there_is_not_trained_again_but_its_features_are_looked_after(job: Job) -> None:
    job.run()
    assert job.run() == (0, ["publish"])


@pytest.mark.parametrize(("failing", "asked"), [("train", ["train"]), ("publish", ["train", "publish"])])
def test_a_failure_is_the_jobs_failure(job: Job, failing: str, asked: list[str]) -> None:
    assert job.run(failing) == (1, asked)


def test_without_a_store_it_does_nothing(job: Job) -> None:
    status, asked = job.run(store="")
    assert status != 0
    assert asked == []
