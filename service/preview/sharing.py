"""Sharing: one frozen sample for all workers, so that a picture does not flicker from one to the other.

In the run directory, or in a folder of its own where there is but one worker:

    preview-ask                    a word, written by the worker that wants a new sample
    preview-part-WORKER-WORD       what a worker remembers, written when it saw the word
    preview-sample-NUMBER-...      a sample; the one before the newest stays, for those who look at it

Knows no configs.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import structlog

from model.files import replace_file
from service.preview.recording import Recorder
from service.preview.sample import Record, Sample, newest, read_sample
from service.processes.fleet import Fleet

FRESH_S = 30.0
"""Seconds for which a sample counts as new."""
_KEPT = 2
"""Samples that are kept."""
_POLL_S = 0.1
_WAIT_S = 1.0
"""Seconds that workers have to write what they remember."""
_SETTLED_NS = 100_000_000
_NAME = re.compile(r"preview-sample-(\d{9})-([0-9a-f]{8})-(\d+)-([0-9a-f]+)")
_ASK = "preview-ask"

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Frozen:
    """A sample that was frozen.

    Attributes:
        path: its file.
        name: what answers call it.
        age_s: seconds since then.
        bundle: the beginning of its bundle's version.
    """

    path: Path
    name: str
    age_s: float
    bundle: str


class Samples:
    """The samples of all workers, as one of them sees them.

    Args:
        recorder: what this worker remembers.
        fleet: the workers.
        fresh_s: seconds for which a sample counts as new.
    """

    def __init__(self, recorder: Recorder, fleet: Fleet, fresh_s: float = FRESH_S) -> None:
        self._recorder = recorder
        self._fleet = fleet
        self._fresh_s = fresh_s
        self._shares = fleet.board is not None and fleet.folder is not None
        self._own = None if self._shares else _own_folder()
        self._folder = fleet.folder if self._shares else self._own
        self._seen: str | None = None
        self._listed: tuple[int, list[tuple[Path, re.Match[str]]]] = -1, []
        self._stopped = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="preview", daemon=True)

    def start(self) -> None:
        """Begin to listen to other workers, if there are any."""
        if self._shares:
            self._watcher.start()

    def stop(self) -> None:
        """Listen no longer, and remove what only this worker used."""
        self._stopped.set()
        if self._watcher.is_alive():
            self._watcher.join(_WAIT_S)
        if self._own is not None:
            shutil.rmtree(self._own, ignore_errors=True)

    def named(self, name: str, bundle: str) -> Frozen | None:
        """The sample of this name, if it is still there and of this bundle."""
        return next((one for one in self._known(bundle) if one.name == name), None)

    def fresh(self, bundle: str) -> Frozen | None:
        """The newest sample of a bundle, if it is new enough."""
        return next((one for one in self._known(bundle)[-1:] if one.age_s <= self._fresh_s), None)

    def freeze(self, bundle: str) -> Frozen | None:
        """A sample that is fresh: another worker's, if one has just made it. Blocks for a moment.

        Returns:
            None where no requests of the bundle were seen.

        Raises:
            OSError: it cannot be written.
        """
        if self._folder is None:
            raise OSError("there is no folder for temporary files; set TMPDIR")
        with self._fleet.turn("preview"):
            found = self.fresh(bundle)
            if found is not None:
                return found
            records = newest(self._gathered(), bundle)
            return self._write(self._folder, records) if records and self._folder else None

    def _write(self, folder: Path, records: list[Record]) -> Frozen:
        before = self._files()
        number = 1 + max((int(found[1]) for _, found in before), default=0)
        name = f"{number:09d}-{secrets.token_hex(4)}"
        sample = Sample.of(name, time.time_ns() // 1_000_000, records)
        stamp = f"{time.monotonic_ns() // 1_000_000}-{_short(sample.bundle)}"
        path = folder / f"preview-sample-{name}-{stamp}"
        replace_file(path, sample.to_bytes())
        for old, _ in before[: 1 - _KEPT]:
            old.unlink(missing_ok=True)
        return Frozen(path, name, 0.0, _short(sample.bundle))

    def _known(self, bundle: str) -> list[Frozen]:
        """Samples of a bundle, the newest last."""
        now_ms = time.monotonic_ns() // 1_000_000
        return [
            Frozen(path, f"{found[1]}-{found[2]}", (now_ms - int(found[3])) / 1000.0, found[4])
            for path, found in self._files()
            if found[4] == _short(bundle)
        ]

    def _files(self) -> list[tuple[Path, re.Match[str]]]:
        """Samples, the newest last."""
        if self._folder is None:
            return []
        changed_ns = self._folder.stat().st_mtime_ns
        if changed_ns != self._listed[0]:
            found = self._list(self._folder)
            # Of what changes at this moment, the next time would not tell.
            self._listed = changed_ns if time.time_ns() - changed_ns > _SETTLED_NS else -1, found
        return self._listed[1]

    @staticmethod
    def _list(folder: Path) -> list[tuple[Path, re.Match[str]]]:
        with os.scandir(folder) as entries:
            found = [(entry.path, _NAME.fullmatch(entry.name)) for entry in entries]
        return [(Path(path), name) for path, name in sorted(found, key=lambda one: one[0]) if name]

    def _gathered(self) -> list[Record]:
        """What all workers remember, as far as they say so in time."""
        records = self._recorder.records
        if not self._shares or self._folder is None:
            return records
        self._seen = word = secrets.token_hex(8)
        own = self._fleet.own.worker
        waited = {report.worker for report in self._fleet.workers() if report.ready} - {own}
        replace_file(self._folder / _ASK, word.encode())
        deadline = time.monotonic() + _WAIT_S
        while waited and time.monotonic() < deadline:
            time.sleep(_POLL_S / 10)
            for worker in sorted(waited):
                path = self._folder / _part(worker, word)
                with contextlib.suppress(FileNotFoundError):
                    content = path.read_bytes()
                    path.unlink()
                    waited.discard(worker)
                    records += read_sample(content).records if content else []
        for left in self._folder.glob("preview-part-*"):
            left.unlink(missing_ok=True)
        return records

    def _watch(self) -> None:
        while not self._stopped.wait(_POLL_S):
            try:
                self._look()
            except Exception:  # a full disk must not end the watching
                log.exception("preview_part_failed")

    def _look(self) -> None:
        if self._folder is None:
            return
        try:
            word = (self._folder / _ASK).read_text()
        except FileNotFoundError:
            return
        if word == self._seen:
            return
        self._seen = word
        records = self._recorder.records
        bundle = records[-1].bundle if records else ""
        sample = Sample.of("", 0, newest(records, bundle)).to_bytes() if records else b""
        replace_file(self._folder / _part(self._fleet.own.worker, word), sample)


def _own_folder() -> Path | None:
    try:
        return Path(tempfile.mkdtemp(prefix="fulcrum-preview-"))
    except OSError as error:
        log.warning("no_previews", error=str(error), hint="set TMPDIR to a folder, best in memory")
        return None


def _part(worker: int, word: str) -> str:
    return f"preview-part-{worker}-{word}"


def _short(bundle: str) -> str:
    return bundle.removeprefix("sha256:")[:16]
