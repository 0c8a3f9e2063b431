"""Where a data set comes from: the log and its tables as Polars frames, and what they were read from.

Readers make these; preparation joins them. Knows nothing about features, tasks or networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import xxhash

from model.errors import FulcrumError

__all__ = ["LogSource", "SourceTable", "fingerprint", "matching", "read_table"]


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
    """

    log: pl.DataFrame
    tables: tuple[SourceTable, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()


def matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Files of the folder that match any of the glob patterns, each once, by name."""
    return sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})


def read_table(path: Path) -> pl.DataFrame:
    """A csv or parquet file.

    Raises:
        FulcrumError: the file is of another kind, or cannot be parsed.
    """
    try:
        if path.suffix == ".parquet":
            return pl.read_parquet(path)
        if path.suffix in {".csv", ".gz"}:
            return pl.read_csv(path, infer_schema_length=None, try_parse_dates=True)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise FulcrumError(
            f"{path}: cannot be read as {path.suffix[1:]} ({str(error).splitlines()[0]})"
        ) from error
    raise FulcrumError(f"{path}: expected .csv, .csv.gz or .parquet")


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
