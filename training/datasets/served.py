"""What was served and what came of it, as a log: the folder that `fulcrum events join` writes.

A recipe for another reader reads a served log unchanged, but for its splits: the log's user and item ids get
the names that the recipe has for them, the column of `data.video_len` is made of the length that was served,
and labels, priors and histories find behaviours under the columns of the event catalogue, and times under
`time_ms`. Features stand in the log where they were logged; what is not logged comes from tables, as of each
row's time: those of `data.tables`, or the observed users and videos of a synthetic world.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

import polars as pl
from pydantic import model_validator

from model.errors import FulcrumError, checked, listed
from model.schema import Schema
from training.datasets.files import declared_tables, table_format
from training.datasets.reader import reader
from training.datasets.source import LogSource, LogStream, SourceTable, fingerprint, matching
from training.datasets.synthetic import world_tables
from training.datasets.table_files import stacked
from training.simulation import World, WorldConfig

_FILES = "impressions/day=*/*.parquet"
_NEEDED = ("exposure_id", "item_id", "position", "user_id", "time_ms", "video_len_s", "mature")


class ServedOptions(WorldConfig):
    """`data.options` of the reader `served`. The dials of a world are for `synthetic` alone."""

    mature: bool = True
    """Whether impressions whose windows were still open when the log was joined are left out: what is not yet
    known of them looks as if it had not happened."""
    synthetic: bool = False
    """Whether users and videos are those of the synthetic world that the other options describe."""

    @model_validator(mode="after")
    def _dials_of_a_world(self) -> ServedOptions:
        dials = sorted(self.model_fields_set - {"mature", "synthetic"})
        if dials and not self.synthetic:
            raise ValueError(
                f"{dials[0]} is a dial of a synthetic world; say synthetic: true, or leave it out"
            )
        return self

    @property
    def world(self) -> WorldConfig:
        """The synthetic world."""
        return WorldConfig(**{name: getattr(self, name) for name in WorldConfig.model_fields})


def world_of(schema: Schema, whose: str) -> WorldConfig:
    """The synthetic world that a data set is about.

    Args:
        schema: of the data set.
        whose: it is, for errors.

    Raises:
        FulcrumError: it is about none.
    """
    data = schema.data
    if data.reader == "synthetic":
        return checked(WorldConfig, data.options, at="data.options")
    if data.reader == "served":
        options = checked(ServedOptions, data.options, at="data.options")
        if options.synthetic:
            return options.world
    raise FulcrumError(
        f"{whose}: its recipe's reader is {data.reader!r}, and viewers are known for synthetic worlds alone: "
        "`synthetic`, or `served` with the option synthetic: true"
    )


def over_what_was_served(schema: Schema, ours: Schema) -> Schema:
    """A bundle's schema over the log that `ours` reads, if that is one of what was served, to compare both.

    The bundle that served was trained elsewhere, on a log of another reader or of what was served before.
    """
    if ours.data.reader != "served" or schema.data.reader == "served":
        return schema
    its_own = ("user", "item", "priors", "histories", "video_len")
    kept = {name: getattr(schema.data, name) for name in its_own}
    past_until = ours.data.past_until if schema.data.past else None
    data = ours.data.model_copy(update={**kept, "past_until": past_until})
    return schema.model_copy(update={"data": data})


def stream_served(schema: Schema, folder: Path, options: ServedOptions) -> LogStream:
    """The log, to be read piece by piece, and its tables.

    Raises:
        FulcrumError: as for `read_served`.
    """
    log = _ServedLog(schema, folder, options)
    opened = partial(log.opened, every=True) if not options.mature else log.opened
    rows = sum(opened(path).select(pl.len()).collect().item() for path in log.paths)
    empty = [(path, log.opened(path).head(0).collect()) for path in log.paths]
    kinds = stacked(empty, log.ids).schema
    if not rows:
        raise log.nothing_mature()
    return LogStream(log.paths, kinds, rows, log.tables, log.fingerprint, log.ids, opened)


@reader(
    "served",
    needs="what `fulcrum events join` writes",
    options=ServedOptions,
    stream=stream_served,
)
def read_served(schema: Schema, folder: Path, options: ServedOptions) -> LogSource:
    """Read the log, in the order of time, exposure and position, and its tables.

    Raises:
        FulcrumError: the folder is no joined log, a file cannot be read, a column is missing, or no row is
            mature.
    """
    log = _ServedLog(schema, folder, options)
    frame = stacked([(path, log.opened(path, every=True).collect()) for path in log.paths], log.ids)
    notes = []
    if options.mature:
        whole, frame = frame.height, frame.filter("mature")
        if whole and frame.is_empty():
            raise log.nothing_mature()
        if frame.height < whole:
            notes.append(
                f"{whole - frame.height:,} of {whole:,} impressions are left out: their windows were open "
                "when they were joined (the option mature: false takes them as they are)"
            )
    frame = frame.sort("time_ms", "exposure_id", "position")
    return LogSource(frame, log.tables, log.fingerprint, tuple(notes))


def length_as_declared(schema: Schema, columns: Collection[str]) -> dict[str, pl.Expr]:
    """The recipe's column of lengths, made of the length that was served; nothing where the log has it."""
    length = schema.data.video_len
    if length is None or length.column in columns:
        return {}
    served = pl.col("video_len_s") * length.per_second
    return {length.column: served.round().cast(pl.Int64) if length.unit == "ms" else served}


class _ServedLog:
    """The files of a joined log, and what a recipe makes of their columns."""

    def __init__(self, schema: Schema, folder: Path, options: ServedOptions) -> None:
        self._schema, self._folder = schema, folder
        self.paths = tuple(matching(folder, [_FILES]))
        if not self.paths:
            raise FulcrumError(
                f"data folder {folder}: no {_FILES} in it; expected what `fulcrum events join EVENTS "
                f"--out {folder}` writes"
            )
        self.ids = table_format(schema).ids
        self._columns: dict[str, None] = {}
        for path in self.paths:
            self._columns |= dict.fromkeys(_columns(path))
        self._renamed = {"user_id": schema.data.user}
        if schema.data.item is not None:
            self._renamed["item_id"] = schema.data.item
        for ours, theirs in self._renamed.items():
            if theirs != ours and theirs in self._columns:
                raise FulcrumError(
                    f"data: the recipe calls the log's {ours} {theirs!r}, which is another column of it; "
                    "give one of them another name"
                )
        tables: tuple[SourceTable, ...] = ()
        if options.synthetic:
            tables = world_tables(World.create(options.world))
        declared, read = declared_tables(schema, folder, table_format(schema))
        self.tables = (*tables, *declared)
        self.fingerprint = fingerprint([*self.paths, *read], f"served:{options.model_dump_json()}")

    def opened(self, path: Path, every: bool = False) -> pl.LazyFrame:
        """Rows of one file, with the columns that the recipe knows; the mature ones, or every one."""
        found = _columns(path)
        lazy = pl.scan_parquet(path, hive_partitioning=False)
        lazy = lazy.with_columns(pl.lit(None).alias(name) for name in self._columns if name not in found)
        if not every:
            lazy = lazy.filter("mature")
        made = {"day": pl.lit(path.parent.name.removeprefix("day="))}
        made |= length_as_declared(self._schema, self._columns)
        order = [*self._columns, *made]
        return lazy.with_columns(**made).select(order).rename(self._renamed)

    def nothing_mature(self) -> FulcrumError:
        """That the log is too young."""
        return FulcrumError(
            f"data folder {self._folder}: the windows of all impressions were open when they were joined; "
            "join them again when they are closed, or take them as they are (`fulcrum calibrate --open`, "
            "or the recipe's option mature: false)"
        )


def _columns(path: Path) -> Sequence[str]:
    """Columns of a file of the log.

    Raises:
        FulcrumError: it cannot be read, or lacks what every joined log has.
    """
    try:
        columns = pl.read_parquet_schema(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise FulcrumError(f"{path}: cannot be read as parquet ({str(error).splitlines()[0]})") from error
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise FulcrumError(
            f"{path}: no column {missing[0]!r}; expected those of a joined log: {listed(_NEEDED)}, ..."
        )
    return list(columns)
