"""Files: exposures into the segments of a folder, with the catalogue and the fusion configs that they name.

Used by one thread. After a failure all is made anew, so that a folder that is back is as good as a new one;
the folder itself is not made again: where it was a mount, its content would land on the disk below.
"""

from __future__ import annotations

import dataclasses
import errno
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.abc import MetaPathFinder
from pathlib import Path

import pyarrow as pa

from model.errors import FulcrumError
from model.events import EventCatalogue, EventFolder, Exposure, Origin, Shown
from model.events.exposures import Precision, batch, layout
from model.events.folder import hour_name
from model.files import check_folder, replace_file
from service.events.segments import Segment

SEGMENT_BYTES = 128 * 1024 * 1024
"""Size from which a segment takes no more."""

_SLICE = 32
"""Exposures made columns at once: the interpreter is held for about a millisecond."""

_Tasks = tuple[str, ...]
_Key = tuple[str, _Tasks]
"""Hour and tasks, which all of a segment share."""


class _NoPandas(MetaPathFinder):
    """Finds no pandas."""

    def find_spec(self, fullname: str, *_: object) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)


def _keep_pandas_out() -> None:
    """Arrow imports pandas, where that is installed, with its first array: seconds of a busy machine."""
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)


_keep_pandas_out()


def make_folder(path: Path) -> None:
    """Make the folder of events where it is absent.

    Raises:
        FulcrumError: it cannot be, or nothing may be written there.
    """
    check_folder(path, "events")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FulcrumError(f"events {path}: cannot make the folder: {error.strerror}") from error


class FileSink:
    """A folder of events.

    Args:
        path: of the folder.
        precision: of logged predictions.
        clock: milliseconds since 1970.
        segment_bytes: of a segment that takes no more.
    """

    def __init__(
        self,
        path: Path,
        precision: Precision = "float32",
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._folder = EventFolder(path)
        self._precision = precision
        self._clock = clock
        self._segment_bytes = segment_bytes
        # Bundles that serve beside each other, for experiments, may have other tasks.
        self._segments: dict[_Tasks, tuple[str, Segment]] = {}
        self._described: set[str] = set()
        self._catalogue: tuple[tuple[str, ...], EventCatalogue] | None = None
        # Arrow's own allocator keeps what was free once; malloc's is trimmed by the service.
        pa.set_memory_pool(pa.system_memory_pool())

    def prepare(self, shown: Shown) -> Shown:
        """The ids as Arrow's texts, which is most of the work."""
        exposure, candidates = shown.exposure, shown.exposure.candidates
        if candidates is None:
            return shown
        candidates = dataclasses.replace(candidates, ids=pa.array(candidates.ids, pa.string()))
        return Shown(dataclasses.replace(exposure, candidates=candidates), shown.origin)

    def write(self, batch: Sequence[Shown]) -> int:
        """Write exposures, each to a segment of its hour; see `ExposureSink`."""
        by_key: dict[_Key, list[Shown]] = {}
        for shown in batch:
            key = hour_name(shown.exposure.time_ms), shown.origin.tasks
            by_key.setdefault(key, []).append(shown)
        try:
            return sum(self._append(key, by_key[key]) for key in sorted(by_key))
        except BaseException:
            self.close()
            raise

    def rest(self) -> None:
        """Close the segments of an hour that is over."""
        hour = hour_name(self._clock())
        if any(of < hour for of, _ in self._segments.values()):
            self.close()

    def close(self) -> None:
        """Close all segments; the next batch begins others, and describes everything again."""
        self._described.clear()
        self._catalogue = None
        segments, self._segments = self._segments, {}
        for _, segment in segments.values():
            segment.close()

    def _append(self, key: _Key, group: Sequence[Shown]) -> int:
        segment = self._segment_for(key)
        for origin in {id(shown.origin): shown.origin for shown in group}.values():
            self._describe(origin)
        written = segment.write(_columns([shown.exposure for shown in group], segment.schema))
        if segment.size >= self._segment_bytes:
            self.close()
        return written

    def _segment_for(self, key: _Key) -> Segment:
        hour, tasks = key
        found = self._segments.get(tasks)
        if found is not None and found[0] == hour and found[1].is_there:
            return found[1]
        if found is not None:
            self.close()
        if not self._folder.path.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the folder of events is gone", str(self._folder.path))
        segment = Segment(self._folder.exposures / hour, self._clock(), layout(tasks, self._precision))
        self._segments[tasks] = hour, segment
        return segment

    def _describe(self, origin: Origin) -> None:
        if origin.events is not None and (origin.tasks, origin.events) != self._catalogue:
            self._folder.write_catalogue(origin.tasks, origin.events)
            self._catalogue = origin.tasks, origin.events
        if origin.fusion_version not in self._described:
            path = self._folder.config(origin.fusion_version)
            if not path.exists():
                path.parent.mkdir(exist_ok=True)
                replace_file(path, origin.fusion())
            self._described.add(origin.fusion_version)


def _columns(exposures: Sequence[Exposure], schema: pa.Schema) -> pa.RecordBatch:
    """Exposures as one batch, made in slices between which others have the interpreter."""
    slices = [batch(exposures[first : first + _SLICE], schema) for first in _starts(len(exposures))]
    if len(slices) == 1:
        return slices[0]
    return pa.Table.from_batches(slices).combine_chunks().to_batches()[0]


def _starts(count: int) -> Iterable[int]:
    for first in range(0, count, _SLICE):
        if first:
            time.sleep(
                0.0005
            )  # a shorter rest is none: a thread that waits for the interpreter has to wake first
        yield first
