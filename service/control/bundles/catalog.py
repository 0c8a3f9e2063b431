"""Catalog: the bundles that lie in a folder. Reads manifests only; proves nothing, decides nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from model.bundle import MANIFEST, Manifest, read_manifest
from model.bundle.manifest import moment
from model.errors import FulcrumError

Signature = tuple[tuple[str, int, int, int], ...]
"""Name, time of change, bytes and inode of each file: differs once anything was written."""

_SKEW = timedelta(days=1)
"""By which the clock of who made a bundle may be ahead of ours."""

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
        looks = {Path(entry.path): _signature(Path(entry.path)) for entry in folders if _is_folder(entry)}
        return {path: look for path, look in looks.items() if any(file[0] == MANIFEST for file in look)}

    @staticmethod
    def _ordered(models: dict[Path, Model]) -> list[Model]:
        latest = datetime.now(UTC) + _SKEW
        return sorted(
            models.values(), key=lambda model: (_made(model, latest), model.path.name), reverse=True
        )


def _made(model: Model, latest: datetime) -> datetime:
    """When the bundle was made. One that says it will be made is as old as its manifest's file: else it would
    be the newest until then, whatever comes.
    """
    if model.manifest is None:
        return datetime.min.replace(tzinfo=UTC)
    created = moment(model.manifest.created)
    if created <= latest:
        return created
    changed_ns = next((changed for name, changed, _, _ in model.signature if name == MANIFEST), 0)
    return datetime.fromtimestamp(changed_ns / 1e9, UTC)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False  # a link that leads round in circles


def _signature(folder: Path) -> Signature:
    try:
        stats = [(entry.name, _stat(entry)) for entry in os.scandir(folder)]
    except OSError:
        return ()  # it went while we looked
    return tuple(sorted((name, stat.st_mtime_ns, stat.st_size, stat.st_ino) for name, stat in stats))


def _stat(entry: os.DirEntry[str]) -> os.stat_result:
    try:
        return entry.stat()
    except OSError:
        return entry.stat(follow_symlinks=False)  # a link that leads nowhere


def _read(path: Path, look: Signature) -> Model:
    try:
        return Model(path, look, read_manifest(path))
    except FulcrumError as error:
        return Model(path, look, None, str(error))
