"""One's own log: csv or parquet files in a folder, as the recipe's `data` names them."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from model.errors import FulcrumError
from model.frozen import Frozen
from model.schema import Schema
from training.datasets.moments import check_moments, power_of_units
from training.datasets.reader import reader
from training.datasets.source import LogSource, LogStream, SourceTable, fingerprint, matching
from training.datasets.table_files import TableFormat, csv_columns, read_tables, stacked


def stream_files(schema: Schema, folder: Path, _options: Frozen) -> LogStream:
    """The log, to be read piece by piece, and its tables.

    Raises:
        FulcrumError: as for `read_files`; or the log is not Parquet.
    """
    data, form = schema.data, table_format(schema)
    log_paths = _found(folder, data.log, "data.log")
    for path in log_paths:
        if path.suffix != ".parquet":
            raise FulcrumError(
                f"training.stream: {path.name} is no Parquet, which alone is read in pieces. Convert it, "
                f"with ids as they are spelled: pl.scan_csv({path.name!r}, infer_schema_length=None, "
                "try_parse_dates=True, schema_overrides=dict.fromkeys("
                f"{sorted(form.ids & set(csv_columns(path, form)))}, pl.String))"
                f".sink_parquet({path.name.partition('.')[0] + '.parquet'!r})"
            )
    tables, table_paths = declared_tables(schema, folder, form)
    try:
        scans = [(path, pl.scan_parquet(path)) for path in log_paths]
        rows = sum(scan.select(pl.len()).collect().item() for _, scan in scans)
        empty = [(path, pl.DataFrame(schema=scan.collect_schema())) for path, scan in scans]
    except (pl.exceptions.PolarsError, OSError) as error:
        names = ", ".join(path.name for path in log_paths)
        raise FulcrumError(f"{names}: cannot be read ({str(error).splitlines()[0]})") from error
    for path, frame in empty:
        if data.time in frame.columns:
            check_moments(frame[data.time], "data.time", path.name)
    named = fingerprint([*log_paths, *table_paths])
    return LogStream(tuple(log_paths), stacked(empty, form.ids).schema, rows, tables, named, form.ids)


@reader("files", needs="csv or Parquet files", stream=stream_files)
def read_files(schema: Schema, folder: Path, _options: Frozen) -> LogSource:
    """Read the log and its tables.

    Raises:
        FulcrumError: a pattern matches no file, a file cannot be read, files disagree on columns or on how
            ids are written, or times are text.
    """
    form = table_format(schema)
    paths = _found(folder, schema.data.log, "data.log")
    frames = read_tables(paths, form)
    log = _stacked(frames, form, schema.data.time, "data.time")
    tables, table_paths = declared_tables(schema, folder, form)
    files = tuple((path.name, frame.height) for path, frame in frames)
    named = fingerprint([*paths, *table_paths])
    return LogSource(log, tables, named, notes=_other_units(frames, schema.data.time), files=files)


def table_format(schema: Schema) -> TableFormat:
    """How the files that a recipe names are read."""
    data = schema.data
    return TableFormat(schema.id_columns(), data.separator, data.null_values, keep_zeros=True)


def declared_tables(
    schema: Schema, folder: Path, form: TableFormat
) -> tuple[tuple[SourceTable, ...], list[Path]]:
    """The tables of `data.tables`, and all their files.

    Raises:
        FulcrumError: as for `read_files`.
    """
    tables, read = [], []
    for table in schema.data.tables:
        field = f"data.tables.{table.name}"
        paths = _found(folder, table.files, f"{field}.files")
        frames = read_tables(paths, form)
        frame = _stacked(frames, form, table.as_of, f"{field}.as_of")
        tables.append(SourceTable(table.name, frame, table.key, table.as_of))
        read += paths
    return tuple(tables), read


def _other_units(frames: list[tuple[Path, pl.DataFrame]], time: str | None) -> tuple[str, ...]:
    """Notes of files whose times are those of the first file in another unit."""
    if time is None or any(time not in frame or not frame[time].dtype.is_numeric() for _, frame in frames):
        return ()
    first, of_first = frames[0]
    powers = {path.name: power_of_units(frame[time], of_first[time]) for path, frame in frames[1:]}
    return tuple(
        f"data.time: {time} in {name} is about 10^{power} times what it is in {first.name}: are both in one "
        "unit?"
        for name, power in powers.items()
        if power
    )


def _stacked(
    frames: list[tuple[Path, pl.DataFrame]], form: TableFormat, moment: str | None, field: str
) -> pl.DataFrame:
    for path, frame in frames:
        if moment is not None and moment in frame.columns:
            check_moments(frame[moment], field, path.name)
    return stacked(frames, form.ids)


def _found(folder: Path, patterns: tuple[str, ...], field: str) -> list[Path]:
    paths = matching(folder, patterns)
    if not paths:
        there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise FulcrumError(f"{field}: no file in {folder} matches {', '.join(patterns)}; there is {there}")
    return paths
