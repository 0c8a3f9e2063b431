"""Sealing: segments of past hours into one file an hour, and files written anew without some of their rows.

A new file names those that it stands for and is put in place whole; then they are deleted. Whatever ends
this in between, each row is read once, and the next run goes on.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import orjson
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from model.errors import FulcrumError
from model.events.folder import HOUR_MS, EventFolder, hour_start_ms
from model.files import FileLock, fresh_file
from training.events.join import maintained
from training.events.sources import (
    DAMAGED,
    REPLACES,
    SLICE_BYTES,
    Reader,
    id_ms,
    index,
    slices,
    source_files,
    torn_at_once,
)
from training.progress import Advanced, Observer, silent

Keep = Callable[[pa.Table], pa.Table]
_NEVER_MS = 1 << 47
_BEFORE_ALL, _AFTER_ALL = "", "\U0010ffff"


@dataclass
class Sealed:
    """What was done.

    Attributes:
        hours: sealed.
        files: that were replaced.
        open: hours that some worker still writes to.
        torn: bytes at the ends of segments that were no whole rows.
    """

    hours: int = 0
    files: int = 0
    open: int = 0
    torn: int = 0


def seal(events: Path, now_ms: int, observer: Observer = silent) -> Sealed:
    """Put the segments of each past hour into one file, or one for each layout.

    Args:
        events: a folder of events.
        now_ms: milliseconds since 1970.
        observer: called with progress.

    Raises:
        FulcrumError: `events` holds none, or rows of a segment cannot be read; it is kept.
    """
    folder, done = EventFolder(events), Sealed()
    folder.read_catalogue()
    with maintained(events):
        hours = [hour for hour in folder.hours() if hour_start_ms(hour.name) + HOUR_MS <= now_ms]
        for number, hour in enumerate(hours):
            observer(Advanced("hours", number, len(hours), "hours"))
            files = source_files(hour)
            if any(is_open(path) for path in files):
                done.open += 1
                continue
            replaced = rewrite(hour, [of for of in layouts(files) if len(of) > 1 or of[0].suffix == ".arrow"])
            done.torn += replaced.torn
            done.files += replaced.files
            done.hours += replaced.files > 0
    return done


def is_open(path: Path) -> bool:
    """Whether a worker still writes to a segment."""
    lock = FileLock(path)
    if path.suffix != ".arrow" or lock.take():
        lock.release()
        return False
    return True


def rewrite(hour: Path, layouts: Sequence[Sequence[Path]], keep: Keep = lambda rows: rows) -> Sealed:
    """Put each group of files into one, with the rows that `keep` leaves; remove what is replaced."""
    done = Sealed()
    for paths in layouts:
        _put_together(hour, paths, keep, done)
    kept = set(source_files(hour))
    for path in hour.iterdir():
        replaced = path.suffix in (".arrow", ".parquet") and path not in kept
        if replaced or path.name.startswith(".") or (torn_at_once(path) and not is_open(path)):
            path.unlink()
    return done


def _put_together(hour: Path, paths: Sequence[Path], keep: Keep, done: Sealed) -> None:
    files = [index(path, _NEVER_MS) for path in paths]
    schema = _schema(paths[0])
    replaces = {REPLACES: orjson.dumps([path.name for path in paths])}
    schema = schema.with_metadata({**schema.metadata, **replaces})
    first_ms = min((id_ms(part.first) for file in files for part in file.parts), default=0)
    target = hour / f"{first_ms}-{secrets.token_hex(4)}.parquet"
    rows_written = 0
    with Reader() as reader, fresh_file(target, durable=True) as fresh:
        with pq.ParquetWriter(fresh, schema, compression="zstd") as writer:
            for low, high, parts in slices(files, _BEFORE_ALL, _AFTER_ALL, SLICE_BYTES):
                read = [rows.cast(schema) for rows in reader.read(parts, low, high)]
                rows = keep(_in_order(pa.concat_tables([schema.empty_table(), *read])))
                rows_written += rows.num_rows
                if rows.num_rows:
                    writer.write_table(rows)
        if reader.damaged:
            raise FulcrumError(f"{reader.damaged[0]}; its file is kept: move it away")
    done.files += len(paths)
    done.torn += sum(file.torn for file in files)
    if not rows_written:
        for path in (*paths, target):
            path.unlink()


def _in_order(rows: pa.Table) -> pa.Table:
    """By id, the first of each."""
    ids = pl.DataFrame({"id": pl.from_arrow(rows["exposure_id"]), "at": range(rows.num_rows)})
    return rows.combine_chunks().take(ids.unique("id", keep="first").sort("id")["at"].to_arrow())


def _schema(path: Path) -> pa.Schema:
    try:
        if path.suffix == ".parquet":
            return pq.read_schema(path)
        with pa.OSFile(str(path)) as file:
            return pa.ipc.open_stream(file).schema
    except DAMAGED as error:
        raise FulcrumError(f"{path}: cannot be read ({error}), so it is kept; move it away") from error


def layouts(paths: Sequence[Path]) -> list[list[Path]]:
    """Files by their columns."""

    def columns(path: Path) -> str:
        # Parquet names the elements of lists otherwise.
        return str(_schema(path).remove_metadata()).replace("element: ", "item: ")

    paths = [path for path in paths if not torn_at_once(path)]
    return [list(of) for _, of in groupby(sorted(paths, key=columns), key=columns)]
