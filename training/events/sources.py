"""Sources: the files of an hour of exposures, read slice by slice in the order of their ids.

An exposure id begins with its time, so that the order of ids is the order of time, and a slice is a range of
ids. Files are indexed first (which ids lie in which batch) and then read where a slice needs it: memory is
bounded by the slice, however large the hour. Knows no feedback.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import ipc

from model.events.folder import HOUR_MS, hour_start_ms
from training.events.columns import context_of, kind_of, wider

REPLACES = b"fulcrum.replaces"
"""Of a sealed file's metadata: a JSON list of the names of the files that it stands for."""
SLICE_BYTES = 4 << 20
"""Of a slice, as it lies in its files: 200,000 impressions, some 300 MiB of memory."""
_LOOKED_AT = ["exposure_id", "context", "fusion_version"]
_END = b"\xff\xff\xff\xff\0\0\0\0"
"""Of a stream that was closed."""
_BOUND_LENGTH = len("00000000-0000")
_MOST_CONTEXTS = 20_000
_DAMAGED = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OSError, EOFError, KeyError)


def id_bound(time_ms: int) -> str:
    """What ids of this millisecond and later ones do not lie before, and earlier ones do."""
    digits = f"{time_ms:012x}"
    return f"{digits[:8]}-{digits[8:]}"


def id_ms(identity: str) -> int:
    """Milliseconds since 1970 of an id, as far as they can be read."""
    try:
        return int(identity[:8] + identity[9:13], 16)
    except ValueError:
        return 0


def id_time() -> pl.Expr:
    """Milliseconds since 1970 of `exposure_id`; null where it is no UUIDv7."""
    text = pl.col("exposure_id")
    form = r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
    digits = text.str.slice(0, 8) + text.str.slice(9, 4)
    return pl.when(text.str.contains(form)).then(digits.str.to_integer(base=16, strict=False))


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are read together: a batch of a segment, or a row group of a sealed file.

    Attributes:
        path: of the file.
        place: bytes from its start, or the number of the row group.
        first, last: of its ids.
        size: bytes.
    """

    path: Path
    place: int
    first: str
    last: str
    size: int


@dataclass
class Indexed:
    """One file, looked through.

    Attributes:
        path: of it.
        size: bytes, of which `torn` at its end are no whole batch.
        rows: whole ones.
        misplaced: those of them whose id lies in another hour than the file.
        damaged: why it cannot be read, where it cannot.
        tasks: that its exposures have predictions of.
        context: kinds of values (as `kind_of`) by name of what is logged of requests.
        configs: fusion versions.
        parts: where the rows lie.
    """

    path: Path
    size: int
    torn: int = 0
    rows: int = 0
    misplaced: int = 0
    damaged: str | None = None
    tasks: tuple[str, ...] = ()
    context: dict[str, str] = field(default_factory=dict)
    configs: set[str] = field(default_factory=set)
    parts: list[Part] = field(default_factory=list)
    contexts: set[str] = field(default_factory=set)

    def note(self, text: str) -> None:
        """Take up what is logged of one request, unless it was met of late."""
        if len(self.contexts) > _MOST_CONTEXTS:
            self.contexts.clear()
        self.contexts.add(text)
        for name, value in context_of(text).items():
            kind = kind_of(value)
            if kind is not None and self.context.get(name) != kind:
                self.context[name] = wider(self.context.get(name), kind)


@dataclass(frozen=True)
class Facts:
    """What is known of an hour, from its files up to a time.

    Attributes:
        sources: name and size of each file.
        oldest_ms, newest_ms: of its exposures, whether they are seen or not; 0 where there are none.
        tasks, context, configs: as of `Indexed`, of all files.
        warnings: one line each.
    """

    sources: list[list[Any]] = field(default_factory=list)
    oldest_ms: int = 0
    newest_ms: int = 0
    tasks: list[str] = field(default_factory=list)
    context: dict[str, str] = field(default_factory=dict)
    configs: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def facts_of(files: Sequence[Indexed]) -> Facts:
    """What files of one hour are, together."""
    context: dict[str, str] = {}
    for name, kind in (pair for file in files for pair in file.context.items()):
        context[name] = wider(context.get(name), kind)
    parts = [part for file in files for part in file.parts]
    return Facts(
        [[file.path.name, file.size] for file in files],
        min((id_ms(part.first) for part in parts), default=0),
        max((id_ms(part.last) for part in parts), default=0),
        sorted({task for file in files for task in file.tasks}),
        dict(sorted(context.items())),
        sorted({version for file in files for version in file.configs}),
        [f"{file.path}: cannot be read ({file.damaged})" for file in files if file.damaged],
    )


def source_files(hour: Path) -> list[Path]:
    """Segments and sealed files of an hour, without those that a sealed file stands for; in order of name."""
    names = {path.name for path in hour.iterdir() if path.suffix in (".arrow", ".parquet")}
    for path in [hour / name for name in names if name.endswith(".parquet")]:
        try:
            metadata = pq.read_metadata(path).metadata or {}
        except _DAMAGED:
            continue
        names -= set(orjson.loads(metadata.get(REPLACES, b"[]"))) - {path.name}
    return [hour / name for name in sorted(names) if not name.startswith(".")]


def index(path: Path, until_ms: int) -> Indexed:
    """Look through a file, of which rows after `until_ms` do not count for what is found in it.

    A file that is gone or broken is `damaged`; of a segment with a torn tail the whole batches are there.
    """
    found = Indexed(path, 0)
    try:
        found.size = path.stat().st_size
        for rows, part, schema in scan(path, _LOOKED_AT):
            if rows.num_rows:
                _note(found, rows, part, schema, id_bound(until_ms + 1))
        if path.suffix == ".arrow":
            found.torn = _torn_bytes(path, found.parts)
    except _DAMAGED as error:
        if torn_at_once(path):
            found.torn = found.size
        else:
            found.damaged = _line(error)
    return found


def torn_at_once(path: Path) -> bool:
    """Whether a segment ends within its first message, before any row."""
    try:
        with path.open("rb") as file:
            head = file.read(8)
            size = file.seek(0, 2)
    except OSError:
        return False
    whole = len(head) == 8 and head[:4] == _END[:4]
    return path.suffix == ".arrow" and (
        len(head) < 8 or (whole and size < 8 + int.from_bytes(head[4:], "little"))
    )


def scan(path: Path, names: Sequence[str]) -> Iterator[tuple[pa.Table, Part, pa.Schema]]:
    """These columns of all whole parts of a file, each with its part and the layout of the file."""
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as sealed:
            for place in range(sealed.num_row_groups):
                group = sealed.metadata.row_group(place)
                size = sum(group.column(at).total_compressed_size for at in range(group.num_columns))
                rows = sealed.read_row_group(place, list(names))
                yield rows, _part(path, place, size, rows), sealed.schema_arrow
        return
    with pa.OSFile(str(path)) as file:
        schema = ipc.open_stream(file).schema
        file.seek(0)
        places = [schema.get_field_index(name) for name in names]
        reader = ipc.open_stream(file, options=ipc.IpcReadOptions(included_fields=places))
        while True:
            place = file.tell()
            try:
                rows = pa.Table.from_batches([reader.read_next_batch()])
                rows.validate(full=True)
            except (StopIteration, *_DAMAGED):
                return
            yield rows, _part(path, place, file.tell() - place, rows), schema


def _part(path: Path, place: int, size: int, rows: pa.Table) -> Part:
    ends = pc.min_max(rows["exposure_id"]).as_py()
    return Part(path, place, ends["min"] or "", ends["max"] or "", size)


def _torn_bytes(path: Path, parts: Sequence[Part]) -> int:
    """Bytes at the end of a segment that are no whole batch."""
    with path.open("rb") as file:
        if parts:
            file.seek(parts[-1].place + parts[-1].size)
        else:
            try:
                ipc.open_stream(pa.PythonFile(file))
            except _DAMAGED:
                file.seek(0)
        rest = file.read(len(_END) + 1)
        return 0 if rest in (b"", _END) else path.stat().st_size - file.tell() + len(rest)


def _note(found: Indexed, rows: pa.Table, part: Part, schema: pa.Schema, until: str) -> None:
    ids = rows["exposure_id"]
    start = hour_start_ms(found.path.parent.name)
    low, high = id_bound(start), id_bound(start + HOUR_MS)
    found.rows += rows.num_rows
    found.parts.append(part)
    if not low <= part.first <= part.last < high:
        found.misplaced += rows.filter(pc.or_(pc.less(ids, low), pc.greater_equal(ids, high))).num_rows
    if part.first >= until:
        return
    seen = rows if part.last < until else rows.filter(pc.less(ids, until))
    found.tasks = tasks_of(schema)
    found.configs.update(filter(None, pc.unique(seen["fusion_version"]).to_pylist()))
    for text in set(pc.unique(seen["context"]).to_pylist()) - found.contexts:
        found.note(text)


def tasks_of(schema: pa.Schema) -> tuple[str, ...]:
    """The tasks of a file of exposures."""
    return tuple(task for task in schema.metadata[b"tasks"].decode().split(",") if task)


def slices(
    files: Sequence[Indexed], start: str, stop: str, size: int
) -> Iterator[tuple[str, str, list[Part]]]:
    """Ranges of ids from `start` to before `stop`, each with the parts that hold some of it.

    Args:
        files: of one hour.
        start: the first bound.
        stop: the last one.
        size: bytes of parts after which a range ends.
    """
    parts = sorted((part for file in files for part in file.parts), key=lambda part: part.first)
    bounds, filled = [start], 0
    for part in parts:
        bound = part.first[:_BOUND_LENGTH]
        if filled >= size and bounds[-1] < bound < stop:
            bounds.append(bound)
            filled = 0
        filled += part.size
    for low, high in zip(bounds, [*bounds[1:], stop], strict=True):
        yield low, high, [part for part in parts if part.first < high and part.last >= low]


class Reader:
    """Reads parts; keeps the files of an hour open. Use it in a `with` block.

    Attributes:
        damaged: parts that were left out because they cannot be read, as text.
    """

    def __init__(self) -> None:
        self.damaged: list[str] = []
        self._files: dict[Path, Any] = {}
        self._schemas: dict[Path, pa.Schema] = {}

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()

    def read(self, parts: Sequence[Part], low: str, high: str) -> list[pa.Table]:
        """The rows of parts whose ids lie from `low` to before `high`, those of one layout together."""
        whole = [rows for part in parts if (rows := self._sound(part, low, high)) is not None]
        return [pa.concat_tables(rows) for _, rows in groupby(whole, key=lambda rows: rows.schema)]

    def _sound(self, part: Part, low: str, high: str) -> pa.Table | None:
        try:
            rows = self._part(part)
            rows.validate(full=True)
            _same_lengths(rows, ["items", "item_len_s"])
            predictions = [f"p_{task}" for task in tasks_of(rows.schema)]
            _same_lengths(rows, ["candidates", "candidate_len_s", *predictions])
        except _DAMAGED as error:
            self.damaged.append(f"{part.path}: some rows cannot be read ({_line(error)})")
            return None
        if low <= part.first and part.last < high:
            return rows
        ids = rows["exposure_id"]
        return rows.filter(pc.and_(pc.greater_equal(ids, low), pc.less(ids, high)))

    def _part(self, part: Part) -> pa.Table:
        if part.path not in self._files:
            sealed = part.path.suffix == ".parquet"
            file = pq.ParquetFile(part.path) if sealed else pa.OSFile(str(part.path))
            self._files[part.path] = file
            self._schemas[part.path] = file.schema_arrow if sealed else ipc.open_stream(file).schema
        file, schema = self._files[part.path], self._schemas[part.path]
        if part.path.suffix == ".parquet":
            return file.read_row_group(part.place)
        file.seek(part.place)
        return pa.Table.from_batches([ipc.read_record_batch(ipc.read_message(file), schema)])


def _same_lengths(rows: pa.Table, names: Sequence[str]) -> None:
    lengths = [pc.fill_null(pc.list_value_length(rows[name]), 0) for name in names]
    if any(not one.equals(lengths[0]) for one in lengths[1:]):
        raise pa.ArrowInvalid(f"lists of different lengths: {', '.join(names)}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
