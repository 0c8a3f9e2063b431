"""Two public logs of Alibaba's shops, in the csv forms in which they are passed on, or parquet of the same.

Ali-CCP (Ma et al., Entire Space Multi-Task Model, SIGIR 2018): one row an impression, `click` and `purchase`,
the columns named by the numbers of the official fields. AliExpress (Li et al., Improving Multi-Scenario
Learning to Rank, CIKM 2020): one row a result of a search, `click` and `conversion`, one country a folder.

A file is told by the word `train`, `val` or `test` in its name, which becomes the column `part`; any of them
will do. Adds `row`, the row's number among those read: AliExpress does not name its products.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from model.errors import FulcrumError
from model.frozen import Frozen
from model.schema import Schema
from training.datasets.reader import reader
from training.datasets.source import LogSource, fingerprint, matching
from training.datasets.table_files import read_table

ALI_CCP = (
    *("click", "purchase", "101", "121", "122", "124", "125", "126", "127", "128", "129"),
    *("205", "206", "207", "210", "216", "508", "509", "702", "853", "301"),
    *("109_14", "110_14", "127_14", "150_14", "D109_14", "D110_14", "D127_14", "D150_14"),
    *("D508", "D509", "D702", "D853"),
)
ALIEXPRESS = (
    "search_id",
    *(f"categorical_{number}" for number in range(1, 17)),
    *(f"numerical_{number}" for number in range(1, 64)),
    *("click", "conversion"),
)
_PARTS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_FORMATS = ("*.csv", "*.csv.gz", "*.parquet")


@reader("ali-ccp", needs="the files of Ali-CCP")
def read_ali_ccp(_schema: Schema, folder: Path, _options: Frozen) -> LogSource:
    """Read the impressions.

    Raises:
        FulcrumError: no such file, or other columns.
    """
    return _read(folder, ALI_CCP, "Ali-CCP")


@reader("aliexpress", needs="the files of AliExpress")
def read_aliexpress(_schema: Schema, folder: Path, _options: Frozen) -> LogSource:
    """Read the results of searches.

    Raises:
        FulcrumError: no such file, or other columns.
    """
    return _read(folder, ALIEXPRESS, "AliExpress")


def _read(folder: Path, columns: Sequence[str], name: str) -> LogSource:
    parts = {path: _part(path) for path in matching(folder, _FORMATS)}
    paths = [path for path, part in parts.items() if part is not None]
    if not paths:
        there = ", ".join(path.name for path in parts) or "none"
        raise FulcrumError(
            f"data folder {folder}: no csv or parquet file of {name} with train, val or test in its name; "
            f"there is {there}"
        )
    frames = [_table(path, columns, name).with_columns(part=pl.lit(parts[path])) for path in paths]
    log = pl.concat(frames, how="vertical_relaxed")
    notes = tuple(
        f"{path.name} is not read: neither train, val nor test is in its name"
        for path, part in parts.items()
        if part is None
    )
    return LogSource(log.with_columns(row=pl.int_range(pl.len())), (), fingerprint(paths), notes)


def _part(path: Path) -> str | None:
    """The part that a file's name says it is; None where it says none, or two."""
    words = {_PARTS[word] for word in re.split(r"[^a-z]+", path.name.lower()) if word in _PARTS}
    return words.pop() if len(words) == 1 else None


def _table(path: Path, columns: Sequence[str], name: str) -> pl.DataFrame:
    if "skeleton" in path.name or "common_features" in path.name:
        raise FulcrumError(
            f"{path}: this is Ali-CCP's raw form, features as lists in two files; expected one table with "
            f"the columns {', '.join(columns[:4])}, ..., as it is passed on: join the two and write that"
        )
    frame = read_table(path)
    absent = [column for column in columns if column not in frame.columns]
    if absent:
        raise FulcrumError(
            f"{path}: expected the {len(columns)} columns of {name}; {absent[0]!r} is absent"
            + (f", and {len(absent) - 1} more" if len(absent) > 1 else "")
        )
    frame = frame.select(columns)
    for column in (each for each in frame.get_columns() if not each.dtype.is_numeric()):
        numbers = column.cast(pl.Float64, strict=False)
        if strange := column.filter(numbers.is_null() & column.is_not_null()).to_list():
            raise FulcrumError(f"{path}: column {column.name!r}: expected numbers, found {strange[0]!r}")
        frame = frame.with_columns(numbers)
    return frame
