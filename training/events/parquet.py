"""Parquet files as the joined log has them: plain types that every reader knows. Knows no events."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq


class TableFile:
    """A Parquet file that appears whole or not at all, and then survives a power cut; for a `with` block.

    Args:
        path: of it; its folder is made where it is missing.
        columns: names and types of its columns.
    """

    def __init__(self, path: Path, columns: Mapping[str, pl.DataType]) -> None:
        self._path = path
        self._fresh = path.with_name(f".{path.name}-{os.getpid()}")
        self._schema = _arrow(pl.DataFrame(schema=dict(columns))).schema

    def __enter__(self) -> TableFile:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = pq.ParquetWriter(
            self._fresh, self._schema, compression="zstd", compression_level=1, store_schema=False
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._fresh.unlink(missing_ok=True)

    def write(self, rows: pl.DataFrame, group_rows: int | None = None) -> None:
        """Append rows, as one row group or as many as `group_rows` makes."""
        if rows.height:
            self._file.write_table(_arrow(rows), group_rows)

    def replace(self, metadata: Mapping[str, str] | None = None) -> None:
        """Put the file in place, with these texts in it."""
        self._file.add_key_value_metadata(dict(metadata or {}))
        self._file.close()
        with self._fresh.open("rb") as file:
            os.fsync(file.fileno())
        self._fresh.replace(self._path)


def metadata_of(path: Path) -> dict[str, str]:
    """What a file was given with `replace`; nothing where there is none, or it is damaged."""
    try:
        found = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return {}
    return {key.decode(): value.decode() for key, value in found.items()}


def _arrow(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())
