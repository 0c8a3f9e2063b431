"""The active fusion config: a file, watched. A good edit is taken within a second, a bad one never.

Serving reads one immutable `FusionState`; a poll replaces it whole. Content is compared, not time stamps:
writes in place, renames over the file and swapped symlinks all look the same. Knows no HTTP and no threads:
who calls `poll` and `fit` sees to it that they do not meet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import structlog

from model.files import now, open_regular
from model.fusion import MAX_BYTES, FusionConfig, FusionError, Scorer, check_tasks, parse_fusion, version

Reload = Literal["loaded", "rejected"]

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ActiveFusion:
    """The config that scores.

    Attributes:
        config: parsed and checked against the bundle's tasks.
        version: hash of the canonical config.
        source: the file.
        loaded_at: UTC, ISO 8601.
        scorers: networks of learned formulas, by checksum.
    """

    config: FusionConfig
    version: str
    source: str
    loaded_at: str
    scorers: Mapping[str, TimedScorer] = field(default_factory=dict)

    @cached_property
    def conditions(self) -> frozenset[str]:
        """What of a request the config's conditions look at."""
        scenes = self.config.scenes.values()
        return frozenset(name for scene in scenes for name in scene.names_of_conditions())


@dataclass(frozen=True)
class RejectedFusion:
    """What the file holds now, if that cannot be used.

    Attributes:
        error: what is wrong, in one line.
        at: UTC, ISO 8601.
        sha256: of the file's bytes (of the first `MAX_BYTES` + 1, if there are more); None where it has none.
    """

    error: str
    at: str
    sha256: str | None


@dataclass(frozen=True)
class FusionState:
    """The config in force, and the newer content that was refused, if any."""

    active: ActiveFusion
    rejected: RejectedFusion | None = None


@dataclass(frozen=True)
class _Look:
    """What one look at the file found: content, or why there is none."""

    content: bytes | None
    failure: str | None = None


class TimedScorer(Scorer, Protocol):
    """A network of a learned formula, whose pace is known."""

    def expected_s(self, candidates: int) -> float:
        """Seconds that it takes for so many."""


class Keep(Protocol):
    """Where content lies that outlives this process."""

    def read(self) -> bytes | None:
        """What was written last, if anything."""

    def write(self, content: bytes) -> object:
        """Put this in its place; never fails."""


class FusionFile:
    """A fusion config file and what became of it.

    Args:
        path: the file.
        tasks: the bundle's tasks.
        on_reload: told of each judged change.
        keep: where the last good content is kept for a worker that starts while the file holds a bad one.

    Raises:
        FusionError: the file cannot be used now, and no older config is kept.
    """

    def __init__(
        self,
        path: Path,
        tasks: Sequence[str],
        on_reload: Callable[[Reload], None] | None = None,
        keep: Keep | None = None,
    ) -> None:
        self._path = path
        self._tasks = list(tasks)
        self._on_reload = on_reload
        self._keep = keep
        look = self._look()
        try:
            self._state = FusionState(self._parse(look))
        except FusionError as error:
            kept = None if keep is None else keep.read()
            if kept is None:
                raise
            self._state = FusionState(self._parse(_Look(kept)), _rejection(look, error))
            log.error("fusion_rejected", error=str(error), serving=self._state.active.version)
        self._seen = look
        self._judged: _Look | None = look

    @property
    def state(self) -> FusionState:
        """The present state; take it once for each piece of work."""
        return self._state

    def fit(self, tasks: Sequence[str]) -> None:
        """Judge by another bundle's tasks from now on.

        Raises:
            FusionError: the config in force names a task that is not among them; nothing has changed.
        """
        check_tasks(self._state.active.config, tasks, source=self._state.active.source)
        self._tasks = list(tasks)
        if self._state.rejected is not None:
            self._judged = None  # what was refused may fit now

    def poll(self) -> None:
        """Look once; judge what has changed. Only what two looks in a row saw is whole, not half written."""
        look = self._look()
        settled = look == self._seen
        self._seen = look
        if settled and look != self._judged:
            self._judged = look
            self._judge(look)

    def _judge(self, look: _Look) -> None:
        try:
            active = self._parse(look)
        except Exception as error:  # whatever a content does to the parser, the next one must be looked at
            self._state = FusionState(self._state.active, _rejection(look, error))
            log.error("fusion_rejected", error=str(error), serving=self._state.active.version)
            self._report("rejected")
        else:
            self._state = FusionState(active)
            log.info("fusion_loaded", source=active.source, version=active.version)
            self._report("loaded")

    def _report(self, outcome: Reload) -> None:
        if self._on_reload is not None:
            self._on_reload(outcome)

    def _look(self) -> _Look:
        try:
            with open_regular(self._path) as file:
                return _Look(file.read(MAX_BYTES + 1))
        except FileNotFoundError:
            return _Look(None, "there is no such file")
        except OSError as error:
            return _Look(None, f"cannot read the file: {error.strerror}")

    def _parse(self, look: _Look) -> ActiveFusion:
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
        config = parse_fusion(text, source=source)
        check_tasks(config, self._tasks, source=source)
        if self._keep is not None:
            self._keep.write(look.content)
        return ActiveFusion(config, version(config), source, now())


def _rejection(look: _Look, error: Exception) -> RejectedFusion:
    digest = None if look.content is None else hashlib.sha256(look.content).hexdigest()
    return RejectedFusion(str(error) or repr(error), now(), digest)
