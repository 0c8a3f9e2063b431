"""onnxruntime is told not to report usage before it is first imported, whichever side imports it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SHOW_AT_IMPORT = """
import os, sys
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            print(os.environ.get("ORT_DISABLE_TELEMETRY"), flush=True)
            os._exit(0)
sys.meta_path.insert(0, Watch())
import {module}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", ["model.bundle.session", "service.server", "service.inference.engine", "training.export.export"]
)
def test_telemetry_is_off_before_onnxruntime_is_imported(module: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", SHOW_AT_IMPORT.format(module=module)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert done.stdout.split() == ["1"]
