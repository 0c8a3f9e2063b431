"""One's own log: csv or parquet files in a folder, as the recipe's `data` names them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from model.errors import FulcrumError
from model.frozen import Frozen
from model.schema import DataSpec
from training.datasets.reader import reader
from training.datasets.source import LogSource, LogStream, SourceTable, fingerprint, matching, read_table


def stream_files(data: DataSpec, folder: Path, _options: Frozen) -> LogStream:
    """The log, to be read piece by piece, and its tables.

    Raises:
        FulcrumError: as for `read_files`; or the log is not Parquet.
    """
    log_paths, tables, named = _open(data, folder)
    for path in log_paths:
        if path.suffix != ".parquet":
            raise FulcrumError(
                f"training.stream: {path.name} is no Parquet, which alone is read in pieces. Convert it: "
                f"pl.scan_csv({path.name!r}, infer_schema_length=None, try_parse_dates=True)"
                f".sink_parquet({path.name.partition('.')[0] + '.parquet'!r})"
            )
    try:
        scans = [pl.scan_parquet(path) for path in log_paths]
        rows = sum(scan.select(pl.len()).collect().item() for scan in scans)
        schema = pl.concat(
            [pl.DataFrame(schema=scan.collect_schema()) for scan in scans], how="vertical_relaxed"
        ).schema
    except pl.exceptions.PolarsError as error:
        names = ", ".join(path.name for path in log_paths)
        raise FulcrumError(f"{names}: cannot be read together ({str(error).splitlines()[0]})") from error
    return LogStream(tuple(log_paths), schema, rows, tables, named)


@reader("files", needs="csv or Parquet files", stream=stream_files)
def read_files(data: DataSpec, folder: Path, _options: Frozen) -> LogSource:
    """Read the log and its tables.

    Raises:
        FulcrumError: a pattern matches no file, a file cannot be read, or files disagree on columns.
    """
    log_paths, tables, named = _open(data, folder)
    return LogSource(_stack(log_paths), tables, named)


def _open(data: DataSpec, folder: Path) -> tuple[list[Path], tuple[SourceTable, ...], str]:
    """The log's files, the tables, and the fingerprint of both."""
    log_paths = _found(folder, data.log, "data.log")
    paths = list(log_paths)
    tables = []
    for table in data.tables:
        table_paths = _found(folder, table.files, f"data.tables.{table.name}.files")
        paths += table_paths
        tables.append(SourceTable(table.name, _stack(table_paths), table.key, table.as_of))
    return log_paths, tuple(tables), fingerprint(paths)


def _found(folder: Path, patterns: tuple[str, ...], field: str) -> list[Path]:
    paths = matching(folder, patterns)
    if not paths:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise FulcrumError(f"{field}: no file in {folder} matches {', '.join(patterns)}; there is {there}")
    return paths


def _stack(paths: list[Path]) -> pl.DataFrame:
    frames = [read_table(path) for path in paths]
    try:
        return pl.concat(frames, how="vertical_relaxed")
    except pl.exceptions.PolarsError as error:
        names = ", ".join(path.name for path in paths)
        raise FulcrumError(f"{names}: columns differ between these files ({error})") from error
