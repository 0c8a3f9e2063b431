"""Catalog: the bundles that lie in a folder. Reads manifests only; proves nothing, decides nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import structlog

from model.bundle import MANIFEST, Manifest, read_manifest
from model.errors import FulcrumError

Signature = tuple[tuple[str, int, int, int], ...]
"""Name, time of change, bytes and inode of each file: differs once anything was written."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Model:
    """A folder that holds a manifest.

    Attributes:
        path: the folder.
        signature: its files as they were seen.
        manifest: None where it cannot be read.
        problem: why not, None if it can.
    """

    path: Path
    signature: Signature
    manifest: Manifest | None
    problem: str | None = None


class Catalog:
    """The models folder: every sub-folder with a manifest is a bundle.

    Raises:
        FulcrumError: there is no such folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen = self._look()
        self._failure: str | None = None
        self.models = self._ordered({path: _read(path, look) for path, look in self._seen.items()})

    models: list[Model]
    """As of the last scan, the newest first."""

    def scan(self) -> None:
        """Look again. A change counts once two looks saw it alike: no bundle that is still being copied."""
        try:
            looks = self._look()
        except FulcrumError as error:
            if str(error) != self._failure:
                log.error("models_unreadable", error=str(error))
            self._failure = str(error)
            return
        self._failure = None
        known = {model.path: model for model in self.models}
        found = {}
        for path in {*known, *looks}:
            look, before = looks.get(path), known.get(path)
            if look != self._seen.get(path):
                model = before  # unsettled
            elif look is None:
                model = None
            else:
                model = before if before and before.signature == look else _read(path, look)
            if model is not None:
                found[path] = model
        self._seen = looks
        self.models = self._ordered(found)

    def _look(self) -> dict[Path, Signature]:
        try:
            folders = [entry for entry in os.scandir(self.folder) if not entry.name.startswith(".")]
        except OSError as error:
            raise FulcrumError(f"models folder {self.folder}: cannot be read ({error.strerror})") from error
        looks = {Path(entry.path): _signature(Path(entry.path)) for entry in folders if entry.is_dir()}
        return {path: look for path, look in looks.items() if any(file[0] == MANIFEST for file in look)}

    @staticmethod
    def _ordered(models: dict[Path, Model]) -> list[Model]:
        def age(model: Model) -> tuple[str, str]:
            return (model.manifest.created if model.manifest else "", model.path.name)

        return sorted(models.values(), key=age, reverse=True)


def _signature(folder: Path) -> Signature:
    try:
        stats = [(entry.name, entry.stat()) for entry in os.scandir(folder)]
    except OSError:
        return ()  # it went while we looked
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in stats))


def _read(path: Path, look: Signature) -> Model:
    try:
        return Model(path, look, read_manifest(path))
    except FulcrumError as error:
        return Model(path, look, None, str(error))
