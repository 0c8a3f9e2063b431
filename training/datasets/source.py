"""Where a data set comes from: the log and its tables as Polars frames, and what they were read from.

Readers make these; preparation joins them. Knows nothing about features, tasks or networks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import xxhash

from training.datasets.table_files import as_common


@dataclass(frozen=True)
class SourceTable:
    """A table that joins the log.

    Attributes:
        name: for errors.
        frame: its rows.
        key: column of both the log and the table.
        as_of: column that says from when a row was known (in the unit of the log's time), or None.
    """

    name: str
    frame: pl.DataFrame
    key: str
    as_of: str | None = None


@dataclass(frozen=True)
class LogSource:
    """A data set as read.

    Attributes:
        log: one row an impression.
        tables: joined to it in this order; a later one's key may come from an earlier one.
        fingerprint: names the content that was read, so that `evaluate` knows its training data again.
        notes: what the reader left out or did, for people.
        past: further impressions, with the log's user, item and time and any other of its columns. Priors and
            histories see them as they see the log's rows; they are part of nothing else.
        files: that the log's rows come from, in their order: name and rows of each; empty where not known.
    """

    log: pl.DataFrame
    tables: tuple[SourceTable, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()
    past: pl.DataFrame | None = None
    files: tuple[tuple[str, int], ...] = ()

    def place(self, column: str, value: object) -> str:
        """Where a value of the log stands first, for people: its file, where that is known, and row."""
        if column not in self.log.columns:
            return ""
        found = (self.log[column] == value).arg_true()
        if found.is_empty():
            return ""
        row = int(found[0])
        for file, rows in self.files:
            if row < rows:
                return f"row {row + 1} of {file}"
            row -= rows
        return f"row {row + 1} of the log"


@dataclass(frozen=True)
class LogStream:
    """A log that is read piece by piece, and as often as need be.

    Attributes:
        files: Parquet files, one after another.
        schema: columns of all of them, each in the type that holds every file's values.
        rows: of all files.
        tables: as in `LogSource`.
        fingerprint: as in `LogSource`.
        ids: columns in which equal ids are equal in that type, whatever type a file has them in.
        opened: a file's rows, with the columns of `schema`.
    """

    files: tuple[Path, ...]
    schema: pl.Schema
    rows: int
    tables: tuple[SourceTable, ...]
    fingerprint: str
    ids: frozenset[str] = frozenset()
    opened: Callable[[Path], pl.LazyFrame] = pl.scan_parquet

    def chunks(self, rows: int, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
        """The log's rows in their order, at most so many at a time.

        Args:
            rows: of a chunk.
            columns: to read, as far as they are there; all where None.
        """
        types = {name: kind for name, kind in self.schema.items() if columns is None or name in columns}
        for file in self.files:
            lazy = self.opened(file).select(
                pl.col(name) if name in self.ids else pl.col(name).cast(kind) for name, kind in types.items()
            )
            start = 0
            while True:
                frame = lazy.slice(start, rows).collect()
                frame = frame.with_columns(
                    as_common(frame[name], kind, file) for name, kind in types.items() if name in self.ids
                )
                if frame.height:
                    yield frame
                if frame.height < rows:
                    break
                start += rows


def matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Files of the folder that match any of the glob patterns, each once, by name."""
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def fingerprint(paths: Sequence[Path], *settings: str) -> str:
    """XXH3-128 over the files' names and contents, and over settings that choose among them."""
    digest = xxhash.xxh3_128()
    for setting in settings:
        digest.update(setting.encode())
    for path in paths:
        digest.update(path.name.encode())
        with path.open("rb") as file:
            while chunk := file.read(1 << 22):
                digest.update(chunk)
    return f"xxh3:{digest.hexdigest()}"
