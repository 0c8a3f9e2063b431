"""`fulcrum train`: what only the command line knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.errors import FulcrumError
from training.commands.train import train


def test_to_resume_one_must_name_the_run(tmp_path):
    with pytest.raises(FulcrumError, match="--resume: name the folder of the run to go on with, --run DIR"):
        train("demo", Path(tmp_path / "bundle"), resume=True)
