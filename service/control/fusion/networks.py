"""Networks: those of a config's learned formulas, opened once they passed a trial in a process of their own.

A network is known by its checksum: one that is open is not tried or opened again, whatever else of the config
changes, and its outcome holds for all workers. Their bytes are kept in the run directory, for a worker that
starts while the file beside the config is another. Decides nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from pathlib import Path
from weakref import WeakValueDictionary

import orjson
import structlog

from model.files import replace_file
from model.fusion import FusionConfig, FusionError, LearnedFormula
from model.fusion.network_file import read_network
from model.learned_fusion import LearnedNetwork
from service.processes.trials import LEAST_BYTES, Outcomes, tried

_TRIAL = "service.control.fusion.trial"
_TIMEOUT_S = 30.0

Read = Callable[[LearnedFormula], bytes]
"""Gives the bytes of a network."""

log = structlog.get_logger(__name__)


class TrialError(FusionError):
    """A trial failed for reasons that may pass."""


class Networks:
    """Opens networks.

    Args:
        folder: the run directory; None without other workers.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._outcomes = Outcomes(folder)
        self._open: WeakValueDictionary[str, LearnedNetwork] = WeakValueDictionary()

    def of(self, config: FusionConfig, source: Path | Read, kept: bool = False) -> dict[str, LearnedNetwork]:
        """The networks of a config, by checksum.

        Args:
            config: names them.
            source: the folder where their files lie, or what gives a network's bytes and raises FusionError
                where it cannot.
            kept: whether the config served before, in another worker: then what cannot be read any longer
                is taken from the run directory, and what lies nowhere is left out.

        Raises:
            TrialError: a trial failed; another may pass.
            FusionError: a network cannot be used; names scene and file.
        """
        found: dict[str, LearnedNetwork] = {}
        for name, scene in config.scenes.items():
            if not isinstance(scene, LearnedFormula):
                continue
            try:
                found[scene.sha256] = self._of(scene, source, kept)
            except FusionError as error:
                named = type(error)(f"scenes.{name}: network {scene.file}: {error}")
                if not kept:
                    raise named from error
                log.error("fusion_network_missing", error=str(named))
        return found

    def _of(self, scene: LearnedFormula, source: Path | Read, kept: bool) -> LearnedNetwork:
        content = self._read(scene, source, kept)
        self._try(scene, content)
        network = self._open.get(scene.sha256)
        if network is None:
            network = LearnedNetwork(content, len(scene.inputs))
            self._open[scene.sha256] = network
            if self._folder is not None:
                with contextlib.suppress(OSError):
                    replace_file(self._folder / _copy(scene), content)
        return network

    def _read(self, scene: LearnedFormula, source: Path | Read, kept: bool) -> bytes:
        try:
            return read_network(scene, source) if isinstance(source, Path) else source(scene)
        except FusionError:
            if kept and self._folder is not None:
                with contextlib.suppress(FusionError):
                    return read_network(scene.model_copy(update={"file": _copy(scene)}), self._folder)
            raise

    def _try(self, scene: LearnedFormula, content: bytes) -> None:
        inputs = orjson.dumps(scene.inputs).decode()
        key = hashlib.sha256(f"{scene.sha256} {inputs}".encode()).hexdigest()[:32]
        outcome = self._outcomes.of(
            key, lambda: tried(_TRIAL, [inputs], _TIMEOUT_S, LEAST_BYTES, given=content)
        )
        if outcome.reason:
            raise (FusionError if outcome.final else TrialError)(outcome.reason)


def _copy(scene: LearnedFormula) -> str:
    return f"network-{scene.sha256}"
