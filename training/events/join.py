"""Join: a folder of events to rows, one per impression, hour by hour.

The rows are a function of the events and of the time as of which they are seen: each file carries the key of
all that it was made from, an hour whose key has not changed is left as it is, and whatever ends a join, the
next one goes on. Hours are read in slices (`sources.py`), which bounds memory.

OUT/impressions/day=YYYY-MM-DD/HH.parquet    a row per impression
OUT/candidates/day=YYYY-MM-DD/HH.parquet     a row per candidate, where candidates were logged
OUT/configs/, OUT/catalogue.json             copies
OUT/feedback/                                copies, by hour (`received.py`)
OUT/join.json                                which feedback is copied; written last
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from model.errors import FulcrumError
from model.events.folder import HOUR_MS, EventFolder, WrittenCatalogue, hour_start_ms
from model.files import FileLock, check_folder, read_file, replace_file
from training.events.attribution import attribute
from training.events.columns import Columns, union, wider
from training.events.feedback_database import FeedbackDatabase
from training.events.parquet import TableFile, metadata_of
from training.events.received import Received, events_of, newest_receipt
from training.events.sources import (
    SLICE_BYTES,
    Facts,
    Indexed,
    Reader,
    facts_of,
    id_bound,
    index,
    slices,
    source_files,
)
from training.progress import Advanced, Observer, Stage, silent

_FORMAT = 1
"""Of the joined log; another one has all hours written anew."""
_MOST_BYTES = 1 << 20
_MB = 1_000_000


@dataclass
class Summary:
    """What a join did.

    Attributes:
        as_of_ms: milliseconds since 1970.
        counts: of all hours: `exposures`, `exposures_twice`, `misplaced`, `impressions`, `candidates`,
            `events`, of which `joined`, `orphans`, `outside_window`, `of_unknown_kinds`.
        written, unchanged, removed: hours.
        warnings: one line each.
    """

    as_of_ms: int
    counts: Counter[str] = field(default_factory=Counter)
    written: int = 0
    unchanged: int = 0
    removed: int = 0
    warnings: list[str] = field(default_factory=list)


def join_events(
    events: Path, out: Path, as_of_ms: int, observer: Observer = silent, slice_bytes: int = SLICE_BYTES
) -> Summary:
    """Write the joined log, or what of it has changed.

    Args:
        events: a folder of events.
        out: where to; made where it is missing.
        as_of_ms: exposures and receipts after it are not seen.
        observer: called with progress.
        slice_bytes: of exposures, as they lie in their files, that are joined at once.

    Raises:
        FulcrumError: `events` holds none, its feedback is damaged, or `out` is a folder of events itself, or
            cannot be written to.
    """
    folder = EventFolder(events)
    catalogue = folder.read_catalogue()
    if (out / "exposures").exists():
        raise FulcrumError(f"--out {out}: that is a folder of events; name another one for the joined log")
    check_folder(out, "joined log")
    out.mkdir(parents=True, exist_ok=True)
    with maintained(events), FileLock(out / ".lock"):
        for left in out.rglob(".*.parquet-*"):  # of a killed join
            left.unlink()
        return _Join(folder, catalogue, out, as_of_ms, observer, slice_bytes).run()


@contextmanager
def maintained(events: Path) -> Iterator[None]:
    """Nobody else joins, seals or deletes what lies in this folder of events meanwhile; waits for it."""
    lock = FileLock(events / ".lock")
    try:
        lock.__enter__()
    except OSError:  # read-only, so that nobody changes anything
        yield
        return
    try:
        yield
    finally:
        lock.release()


class _Join:
    def __init__(
        self,
        folder: EventFolder,
        catalogue: WrittenCatalogue,
        out: Path,
        as_of_ms: int,
        observer: Observer,
        slice_bytes: int,
    ) -> None:
        self._folder, self._catalogue, self._out = folder, catalogue, out
        self._as_of_ms, self._observer, self._slice_bytes = as_of_ms, observer, slice_bytes
        self._received = Received(out / "feedback")
        self._hours = [hour for hour in folder.hours() if hour_start_ms(hour.name) <= as_of_ms]
        self._facts: dict[str, Facts] = {}
        self._done, self._total = 0.0, 0.0

    def run(self) -> Summary:
        copied = self._copy_feedback()
        self._observer(Stage(f"joining {len(self._hours):,} hours"))
        self._total = sum(path.stat().st_size for hour in self._hours for path in source_files(hour))
        written: set[str] = set()
        before = None
        while before != (before := self._columns()):
            # An hour's own columns are known once it is read; where they are new, earlier hours lack them.
            for hour in self._hours:
                written |= {hour.name} if self._hour(hour) else set()
        summary = self._finish(written)
        replace_file(self._out / "join.json", orjson.dumps(copied, option=orjson.OPT_INDENT_2), durable=True)
        return summary

    def _copy_feedback(self) -> dict[str, int]:
        database = FeedbackDatabase(self._folder.feedback)
        try:
            state = orjson.loads(read_file(self._out / "join.json", _MOST_BYTES))
        except (OSError, orjson.JSONDecodeError):
            state = {}
        last, deletions = database.state()
        known = (
            state.get("format") == _FORMAT and state["deletions"] == deletions and state["last_row"] <= last
        )
        after = state["last_row"] if known else 0
        hours = {hour.name for hour in self._folder.hours()}
        last = self._received.copy(database, after, hours, self._observer)
        return {"format": _FORMAT, "as_of_ms": self._as_of_ms, "last_row": last, "deletions": deletions}

    def _columns(self) -> Columns:
        """All columns of the hours that were looked at so far."""
        facts = [self._facts[hour.name] for hour in self._hours if hour.name in self._facts]
        context: dict[str, str] = {}
        for name, kind in (pair for one in facts for pair in one.context.items()):
            context[name] = wider(context.get(name), kind)
        used = {task for one in facts for task in one.tasks}
        tasks = union([[task for task in self._catalogue.tasks if task in used], sorted(used)])
        return Columns(tasks, dict(sorted(context.items())), self._catalogue.events)

    def _paths(self, hour: str) -> tuple[Path, Path]:
        """Files of an hour's impressions and candidates."""
        day, number = hour.split("T")
        impressions, candidates = (
            self._out / rows / f"day={day}" / f"{number}.parquet" for rows in ("impressions", "candidates")
        )
        return impressions, candidates

    def _hour(self, hour: Path) -> bool:
        """Write an hour where that is called for; True where it is."""
        found = [metadata_of(path) for path in self._paths(hour.name)]
        sources: list[list[Any]] = [[path.name, path.stat().st_size] for path in source_files(hour)]
        files: list[Indexed] | None = None
        facts = Facts(**orjson.loads(found[0].get("fulcrum.facts", "{}")))
        if not facts.whole or facts.sources != sources or facts.newest_ms > self._as_of_ms:
            files = [index(path, self._as_of_ms) for path in source_files(hour)]
            facts = facts_of(files, self._as_of_ms)
        self._facts[hour.name] = facts
        self._received.together(hour.name)
        columns, copies = self._columns(), self._received.copies(hour.name)
        key = self._key(facts, columns, copies)
        if all(metadata.get("fulcrum.key") == key for metadata in found):
            self._progress(sum(size for _, size in sources))
            return False
        files = files or [index(path, self._as_of_ms) for path in source_files(hour)]
        self._write(hour.name, files, facts, columns, copies, key)
        return True

    def _key(self, facts: Facts, columns: Columns, copies: Sequence[Path]) -> str:
        """Of all that an hour's rows are made from. The time counts as far as it makes a difference."""
        longest_ms = self._catalogue.events.longest_window_s * 1000
        all_seen = max(facts.newest_ms, newest_receipt(copies)) <= self._as_of_ms
        all_mature = facts.newest_ms + longest_ms <= self._as_of_ms
        none_mature = facts.oldest_ms + longest_ms > self._as_of_ms
        parts = [
            [_FORMAT, facts.sources, [path.name for path in copies]],
            [[name, str(kind)] for name, kind in columns.impressions().items()],
            self._catalogue.events.model_dump(mode="json"),
            "all" if all_seen else self._as_of_ms,
            "all" if all_mature else "none" if none_mature else self._as_of_ms,
        ]
        return hashlib.sha256(orjson.dumps(parts)).hexdigest()

    def _write(
        self,
        hour: str,
        files: Sequence[Indexed],
        facts: Facts,
        columns: Columns,
        copies: Sequence[Path],
        key: str,
    ) -> None:
        counts, start = Counter[str](misplaced=sum(file.misplaced for file in files)), hour_start_ms(hour)
        with ExitStack() as stack:
            paths = self._paths(hour)
            impressions = stack.enter_context(TableFile(paths[0], columns.impressions()))
            candidates = stack.enter_context(TableFile(paths[1], columns.candidates()))
            reader, thread = stack.enter_context(Reader()), stack.enter_context(ThreadPoolExecutor(1))
            writing: Future[None] | None = None
            for low, high, parts in slices(
                files, id_bound(start), id_bound(start + HOUR_MS), self._slice_bytes
            ):
                exposures = [columns.frame(rows) for rows in reader.read(parts, low, high)]
                joined = attribute(
                    pl.concat([columns.frame(), *exposures]),
                    events_of(copies, low, high),
                    columns,
                    self._as_of_ms,
                )
                counts += joined.counts
                if writing:
                    writing.result()
                # While the next slice is read.
                writing = thread.submit(
                    _both, (impressions, joined.impressions), (candidates, joined.candidates)
                )
                self._progress(sum(part.size for part in parts))
            if writing:
                writing.result()
            about = {
                "fulcrum.key": key,
                "fulcrum.facts": orjson.dumps(asdict(facts)).decode(),
                "fulcrum.counts": orjson.dumps(counts).decode(),
                "fulcrum.warnings": orjson.dumps([*facts.warnings, *reader.damaged]).decode(),
            }
            candidates.replace(about)
            impressions.replace(about)

    def _finish(self, written: set[str]) -> Summary:
        """Remove hours that are no more, copy what is small, and count."""
        summary = Summary(self._as_of_ms, written=len(written), unchanged=len(self._hours) - len(written))
        kept = {path for hour in self._hours for path in self._paths(hour.name)}
        for path in sorted(self._out.glob("*/day=*/*.parquet")):
            if path not in kept:
                path.unlink()
                summary.removed += path.parts[-3] == "impressions"
        for hour in self._hours:
            metadata = metadata_of(self._paths(hour.name)[0])
            summary.counts.update(orjson.loads(metadata["fulcrum.counts"]))
            summary.warnings += orjson.loads(metadata["fulcrum.warnings"])
        later = self._received.later(self._as_of_ms)
        summary.counts.update(events=later, orphans=later)
        self._copy(self._folder.catalogue, self._out / "catalogue.json")
        (self._out / "configs").mkdir(exist_ok=True)
        for version in sorted({version for facts in self._facts.values() for version in facts.configs}):
            source = self._folder.config(version)
            if not self._copy(source, self._out / "configs" / source.name):
                summary.warnings.append(f"{source}: fusion config that exposures name is not there")
        return summary

    def _copy(self, source: Path, target: Path) -> bool:
        try:
            content = read_file(source, _MOST_BYTES)
        except OSError:
            return False
        if not target.exists() or target.read_bytes() != content:
            replace_file(target, content)
        return True

    def _progress(self, size: float) -> None:
        self._done += size
        self._observer(
            Advanced("exposures", int(min(self._done, self._total) / _MB), int(self._total / _MB), "MB")
        )


def _both(*rows: tuple[TableFile, pl.DataFrame]) -> None:
    for file, frame in rows:
        file.write(frame)
