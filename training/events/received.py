"""Received: feedback copied out of its database, by the hour of the exposure that it belongs to.

The database is in the order of receipt and knows no exposures. Each join copies what is new, sorted by
exposure, so that a slice reads little more than its own:

FOLDER/YYYY-MM-DDTHH/<first row>-<last row>-<newest receipt>.parquet
FOLDER/later.parquet                          what belongs to no hour that there is yet

After an interruption a row may lie in two copies; it is read once. Joins nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from itertools import chain, pairwise
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq

from model.events.folder import HOUR_MS, hour_name, hour_start_ms
from training.events.feedback_database import COLUMNS, FeedbackDatabase
from training.events.parquet import TableFile
from training.events.sources import id_bound, id_time
from training.progress import Advanced, Observer

_MOST_COPIES = 8
_GROUP_ROWS = 16_384


class Received:
    """Copies of feedback.

    Args:
        path: of their folder; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._later = path / "later.parquet"

    def copy(self, database: FeedbackDatabase, after: int, hours: Collection[str], observer: Observer) -> int:
        """Copy what is new.

        Args:
            database: of feedback.
            after: the last row that is here already; 0 removes what is here.
            hours: that exposures lie in.
            observer: called with progress.

        Returns:
            the last row that is here now.
        """
        last, _ = database.state()
        if not after:
            shutil.rmtree(self._path, ignore_errors=True)
        self._path.mkdir(parents=True, exist_ok=True)
        done = 0
        with TableFile(self._later, COLUMNS) as later:
            for rows in chain(self._waiting(), database.rows(after, last)):
                by_hour = rows.sort("exposure_id").with_columns(hour=id_time() // HOUR_MS)
                for (hour,), found in by_hour.partition_by("hour", include_key=False, as_dict=True).items():
                    name = "" if hour is None else hour_name(hour * HOUR_MS)
                    if name in hours:
                        self._write(name, found)
                    else:
                        later.write(found)
                done += rows.height
                observer(Advanced("copying feedback", done, None, "events"))
            later.replace()
        return last

    def copies(self, hour: str) -> list[Path]:
        """Files of an hour, in order of name."""
        return sorted((self._path / hour).glob("[0-9]*.parquet"))

    def together(self, hour: str) -> None:
        """Put the copies of an hour into one, where they are many; minute by minute, to bound memory."""
        copies = self.copies(hour)
        if len(copies) <= _MOST_COPIES:
            return
        numbers = [[int(number) for number in path.stem.split("-")] for path in copies]
        first, last, newest = (
            min(n[0] for n in numbers),
            max(n[1] for n in numbers),
            max(n[2] for n in numbers),
        )
        path = self._path / hour / f"{first}-{last}-{newest}.parquet"
        bounds = [id_bound(hour_start_ms(hour) + minute * 60_000) for minute in range(61)]
        with TableFile(path, COLUMNS) as file:
            for low, high in pairwise(bounds):
                file.write(events_of(copies, low, high).sort("exposure_id", "rowid"), _GROUP_ROWS)
            file.replace()
        for copy in copies:
            if copy != path:
                copy.unlink()

    def later(self, as_of_ms: int) -> int:
        """Events received until then whose exposure lies in no hour that there is."""
        found = pl.scan_parquet(self._later).filter(pl.col("received_ms") <= as_of_ms)
        return int(found.select(pl.len()).collect().item())

    def _waiting(self) -> Iterator[pl.DataFrame]:
        if self._later.exists():
            with pq.ParquetFile(self._later) as file:
                for place in range(file.num_row_groups):
                    yield pl.DataFrame(pl.from_arrow(file.read_row_group(place)))

    def _write(self, hour: str, rows: pl.DataFrame) -> None:
        first, last = rows.select(pl.min("rowid"), last=pl.max("rowid")).row(0)
        newest = rows.select(pl.max("received_ms")).item()
        path = self._path / hour / f"{first}-{last}-{newest}.parquet"
        with TableFile(path, COLUMNS) as file:
            file.write(rows, _GROUP_ROWS)
            file.replace()


def newest_receipt(copies: Sequence[Path]) -> int:
    """The latest `received_ms` in copies; 0 of none."""
    return max((int(path.stem.split("-")[2]) for path in copies), default=0)


def events_of(copies: Sequence[Path], low: str, high: str) -> pl.DataFrame:
    """Events of exposures whose ids lie from `low` to before `high`, each once."""
    if not copies:
        return pl.DataFrame(schema=COLUMNS)
    ids = pl.col("exposure_id")
    found = pl.scan_parquet(list(copies)).filter((ids >= low) & (ids < high)).collect()
    return found.unique("rowid") if len(copies) > 1 else found
