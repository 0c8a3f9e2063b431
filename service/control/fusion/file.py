"""The active fusion config: a file, watched. A good edit is taken within a second, a bad one never.

Serving reads one immutable `FusionState`; a poll replaces it whole. Content is compared, not time stamps:
writes in place, renames over the file and swapped symlinks all look the same. Networks that the config names
lie beside it; of these, what the file system says is compared.

A change is taken in two steps, as a network's trial takes a second: `look` judges and holds up nobody, `take`
puts what it found into force. Knows no HTTP and no threads: who calls sees to it that `take` and `fit` do not
meet, nor two looks.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import structlog

from model.files import now, open_regular
from model.fusion import (
    MAX_BYTES,
    FusionConfig,
    FusionError,
    LearnedFormula,
    parse_fusion,
    version,
)
from service.control.fusion.networks import Networks, TrialError
from service.control.fusion.state import (
    ActiveFusion,
    FusionState,
    Keep,
    RejectedFusion,
    Reload,
    Serving,
    check_fit,
)

_AGAIN_S = 30.0
"""Seconds until a network is tried again whose trial failed for reasons that may pass."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class _Look:
    """What one look at the file found: content, or why there is none."""

    content: bytes | None
    failure: str | None = None
    networks: tuple[tuple[int, ...] | None, ...] = ()
    """Of each network's file: inode, bytes and time of change; None where there is none."""


@dataclass(frozen=True)
class Found:
    """A change of the file, judged but for the bundle's tasks.

    Attributes:
        look: what was seen.
        active: the config, if it can be used.
        error: why not.
    """

    look: _Look
    active: ActiveFusion | None
    error: Exception | None


class FusionFile:
    """A fusion config file and what became of it.

    Args:
        path: the file.
        tasks: the bundle's tasks.
        on_reload: told of each judged change.
        keep: where the last good content is kept for a worker that starts while the file holds a bad one.
        networks: opens those of learned formulas.
        features: that a request may say of its user and context; None where that is not known.

    Raises:
        FusionError: the file cannot be used now, and no older config is kept.
    """

    def __init__(
        self,
        path: Path,
        tasks: Sequence[str],
        on_reload: Callable[[Reload], None] | None = None,
        keep: Keep | None = None,
        networks: Networks | None = None,
        features: Collection[str] | None = None,
    ) -> None:
        self._path = path
        self._serving = Serving(None, list(tasks), features)
        self._on_reload = on_reload
        self._keep = keep
        self._networks = networks or Networks()
        self._beside: tuple[Path, ...] = ()
        found = self._judge(self._look())
        self._seen = found.look
        self._judged: _Look | None = found.look
        self._again_at = _again_at(found.error)
        try:
            self._state = FusionState(self._fitting(found))
        except FusionError as error:
            kept = None if keep is None else keep.read()
            if kept is None:
                raise
            old = _Look(kept)
            active = self._active(self._parse(old), kept=True)
            self._state = FusionState(self._fitting(Found(old, active, None)), _rejection(found.look, error))
            log.error("fusion_rejected", error=str(error), serving=self._state.active.version)

    @property
    def state(self) -> FusionState:
        """The present state; take it once for each piece of work."""
        return self._state

    def check(self, serving: Serving) -> None:
        """Raise FusionError if a bundle could not serve with the config in force."""
        check_fit(self._state.active, serving)

    def fit(self, serving: Serving) -> None:
        """Judge by another bundle from now on.

        Raises:
            FusionError: the config in force does not fit it; nothing has changed.
        """
        self.check(serving)
        self._serving = serving
        if self._state.rejected is not None:
            self._judged = None  # what was refused may fit now

    def poll(self) -> None:
        """Look once, and take what was found."""
        found = self.look()
        if found is not None:
            self.take(found)

    def look(self) -> Found | None:
        """Look once; judge what has changed. Only what two looks in a row saw is whole, not half written."""
        look = self._look()
        settled = look == self._seen
        self._seen = look
        if not settled or (look == self._judged and time.monotonic() < self._again_at):
            return None
        found = self._judge(look)
        self._seen = found.look
        return found

    def take(self, found: Found) -> None:
        """Put it into force if it can be used and fits the bundle; else keep the config before."""
        self._judged = found.look
        self._again_at = _again_at(found.error)
        try:
            active = self._fitting(found)
        except Exception as error:  # whatever a content does to the parser, the next one must be looked at
            self._state = FusionState(self._state.active, _rejection(found.look, error))
            log.error("fusion_rejected", error=str(error), serving=self._state.active.version)
            self._report("rejected")
        else:
            self._state = FusionState(active)
            log.info("fusion_loaded", source=active.source, version=active.version)
            self._report("loaded")

    def _judge(self, look: _Look) -> Found:
        try:
            config = self._parse(look)
            scenes = [scene for scene in config.scenes.values() if isinstance(scene, LearnedFormula)]
            self._beside = tuple(self._path.parent / scene.file for scene in scenes)
            # Before they are read: what changes from now on is another change.
            look = replace(look, networks=self._signatures())
            return Found(look, self._active(config), None)
        except Exception as error:  # as in `take`, which reports it
            return Found(look, None, error)

    def _fitting(self, found: Found) -> ActiveFusion:
        """What was found, if it can be used with the bundle's tasks; it is kept then."""
        if found.active is None:
            raise found.error or FusionError("nothing was found")
        check_fit(found.active, self._serving)
        if self._keep is not None and found.look.content is not None:
            self._keep.write(found.look.content)
        return found.active

    def _active(self, config: FusionConfig, kept: bool = False) -> ActiveFusion:
        try:
            networks = self._networks.of(config, self._path.parent, kept)
        except FusionError as error:
            raise type(error)(f"{self._path}: fusion config: {error}") from error
        return ActiveFusion(config, version(config), str(self._path), now(), networks)

    def _report(self, outcome: Reload) -> None:
        if self._on_reload is not None:
            self._on_reload(outcome)

    def _look(self) -> _Look:
        networks = self._signatures()
        try:
            with open_regular(self._path) as file:
                return _Look(file.read(MAX_BYTES + 1), None, networks)
        except FileNotFoundError:
            return _Look(None, "there is no such file", networks)
        except OSError as error:
            return _Look(None, f"cannot read the file: {error.strerror}", networks)

    def _signatures(self) -> tuple[tuple[int, ...] | None, ...]:
        return tuple(_signature(path) for path in self._beside)

    def _parse(self, look: _Look) -> FusionConfig:
        source = str(self._path)
        if look.content is None:
            raise FusionError(f"{source}: fusion config: {look.failure}")
        try:
            # Half a character at the cut is not the file's fault: the size is, and parsing says so.
            text = look.content.decode("utf-8", "strict" if len(look.content) <= MAX_BYTES else "replace")
        except UnicodeDecodeError as error:
            raise FusionError(
                f"{source}: fusion config: byte {error.start} is not UTF-8; save the file as UTF-8"
            ) from None
        return parse_fusion(text, source=source)


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_ctime_ns


def _again_at(error: Exception | None) -> float:
    """When to judge the same again, of `time.monotonic`."""
    return time.monotonic() + _AGAIN_S if isinstance(error, TrialError) else float("inf")


def _rejection(look: _Look, error: Exception) -> RejectedFusion:
    digest = None if look.content is None else hashlib.sha256(look.content).hexdigest()
    return RejectedFusion(str(error) or repr(error), now(), digest)
