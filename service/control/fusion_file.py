"""The active fusion config: a file, watched. A good edit is taken within a second, a bad one never.

Serving reads one immutable `FusionState`; the poller replaces it whole. Content is compared, not time stamps:
writes in place, renames over the file and swapped symlinks all look the same. Knows no HTTP.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import structlog

from model.document import MAX_BYTES
from model.fusion import FusionConfig, FusionError, check_tasks, parse_fusion, version

__all__ = ["ActiveFusion", "FusionFile", "FusionState", "RejectedFusion", "Reload"]

Reload = Literal["loaded", "rejected"]

POLL_S = 0.1
"""Seconds between two looks. A change is judged once two looks in a row saw it: no half-written file."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class ActiveFusion:
    """The config that scores.

    Attributes:
        config: parsed and checked against the bundle's tasks.
        version: hash of the canonical config.
        source: the file.
        loaded_at: UTC, ISO 8601.
    """

    config: FusionConfig
    version: str
    source: str
    loaded_at: str


@dataclass(frozen=True)
class RejectedFusion:
    """What the file holds now, if that cannot be used.

    Attributes:
        error: what is wrong, in one line.
        at: UTC, ISO 8601.
        sha256: of the file's bytes (of its first MiB and a byte, if it has more); None where it has none.
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


class FusionFile:
    """A fusion config file and what became of it.

    Args:
        path: the file.
        tasks: the bundle's tasks.
        on_reload: told of each judged change, in the poller's thread.

    Raises:
        FusionError: the file cannot be used now; there is no older config to fall back to.
    """

    def __init__(
        self, path: Path, tasks: Sequence[str], on_reload: Callable[[Reload], None] | None = None
    ) -> None:
        self._path = path
        self._tasks = list(tasks)
        self._on_reload = on_reload
        self._stopped = threading.Event()
        self._poller: threading.Thread | None = None
        look = self._look()
        self._state = FusionState(self._parse(look))
        self._judged = self._seen = look

    @property
    def state(self) -> FusionState:
        """The present state; take it once for each piece of work."""
        return self._state

    def start(self) -> None:
        """Watch the file until `stop`."""
        self._poller = threading.Thread(target=self._watch, name="fusion-file", daemon=True)
        self._poller.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._stopped.set()
        if self._poller is not None:
            self._poller.join()

    def poll(self) -> None:
        """Look once; judge what has changed and was the same at the last look."""
        look = self._look()
        settled = look == self._seen
        self._seen = look
        if settled and look != self._judged:
            self._judged = look
            self._judge(look)

    def _watch(self) -> None:
        while not self._stopped.wait(POLL_S):
            self.poll()

    def _judge(self, look: _Look) -> None:
        try:
            active = self._parse(look)
        except Exception as error:  # whatever a content does to the parser, the next one must find a poller
            content = look.content
            digest = None if content is None else hashlib.sha256(content).hexdigest()
            self._state = FusionState(
                self._state.active, RejectedFusion(str(error) or repr(error), _now(), digest)
            )
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
            if not self._path.is_file():  # nor open a pipe, which would wait for a writer
                return _Look(None, "there is no such file")
            with self._path.open("rb") as file:
                return _Look(file.read(MAX_BYTES + 1))
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
        return ActiveFusion(config, version(config), source, _now())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
