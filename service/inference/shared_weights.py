"""Shared weights: a network's constants as this machine multiplies by them, in a file that all workers map.

onnxruntime copies weights into the form that its kernels want, for each process anew. Here whoever needs a
network first writes it down in that form, into the run directory, and all workers map what was written: the
pages are in memory once. The form is this processor's and this onnxruntime's own; a run directory lasts for
one run on one machine, so that nothing stale is ever found. Knows neither bundles nor what is predicted.

    <run directory>/weights/<network's checksum>/network.onnx, network.data
"""

from __future__ import annotations

import shutil
from pathlib import Path

import structlog

from model.bundle.session import NetworkSession, write_prepared
from model.errors import FulcrumError
from model.files import FileLock, fresh_folder

_NETWORK = "network.onnx"

log = structlog.get_logger(__name__)


class SharedWeights:
    """Prepared networks of one run.

    Args:
        run_directory: that of the workers.
    """

    def __init__(self, run_directory: Path) -> None:
        self._folder = run_directory / "weights"

    def session(self, network: Path, checksum: str) -> NetworkSession | None:
        """The network from the shared file; None where there can be none, which is logged.

        Args:
            network: an ONNX file that holds its weights itself.
            checksum: of the file, in hexadecimal.
        """
        home = self._folder / checksum[:32]
        try:
            self._folder.mkdir(exist_ok=True)
            # One worker at a time, so that no file goes while another is about to map it.
            with FileLock(self._folder / "lock"):
                if not home.exists():
                    self._write(network, home)
                return NetworkSession(home / _NETWORK, prepared=True)
        except (OSError, FulcrumError) as error:
            log.warning("weights_not_shared", network=str(network), error=str(error))
            return None

    def _write(self, network: Path, home: Path) -> None:
        """Networks before it go: who has mapped them, keeps them."""
        for old in self._folder.glob("*/"):
            shutil.rmtree(old, ignore_errors=True)
        with fresh_folder(home) as fresh:
            write_prepared(network, fresh / _NETWORK)
