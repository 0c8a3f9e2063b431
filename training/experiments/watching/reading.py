"""Reading: what units of an experiment brought, from the hours of a joined log.

An hour's file is kept as sums by unit, arm and scene until the file is another one; so a look reads what has
changed, and adds up the rest. Knows no statistics and changes nothing.

Shapes: U units.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import polars as pl

from model.errors import FulcrumError
from model.events.folder import HOUR_MS, WrittenCatalogue, hour_start_ms
from model.experiments import Experiment, Unit
from training.experiments.watching.measures import Measures

COLUMN: Mapping[Unit, str] = {"user": "user_id", "session": "session_id", "request": "exposure_id"}
"""Where the joined log has a unit."""
REQUESTS = "(requests)"
"""Among metrics, whose names have no brackets."""
SUMS = ("so_far", "mature")
_LATENESS_HOURS = 8 * 24
_LATE = 0.99
"""Share of events that have come when an impression counts as complete, by how late events are."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What came of an experiment since its comparison began.

    Attributes:
        rows: a row per unit, arm, scene and hour: `unit, arm, scene, newest_ms`, and `so_far NAME` and
            `mature NAME` of requests and metrics; arms by their place.
        before: a row per unit seen before: `unit`, `before NAME`; None where nothing was asked.
        mature_until_ms: impressions before it have had their feedback.
        newest_feedback_ms: when the newest event happened; None where there is none.
        failed: why metrics cannot be evaluated, by name; they are in no row.
        without_before: the same of those that cannot be evaluated for the days before; they are judged.
    """

    rows: pl.DataFrame
    before: pl.DataFrame | None
    mature_until_ms: int
    newest_feedback_ms: int | None
    failed: Mapping[str, str] = field(default_factory=dict)
    without_before: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def nothing(cls, experiment: Experiment, failed: Mapping[str, str]) -> Self:
        """Where no event can be read.

        Args:
            experiment: it.
            failed: why, by metric.
        """
        return cls(_nothing(()), None, began_ms(experiment), None, failed)


@dataclass(frozen=True)
class _Key:
    """What an hour's sums are made of."""

    file: tuple[int, int, int]
    low_ms: int
    mature_ms: int
    expressions: tuple[tuple[str, str], ...]


_Kept = tuple[_Key, pl.DataFrame, Mapping[str, str]]
"""An hour's sums, and why metrics failed."""


class ExperimentLog:
    """The joined log as experiments are judged by it.

    Args:
        folder: that `fulcrum events join` writes.
        measures: of metrics.
    """

    def __init__(self, folder: Path, measures: Measures) -> None:
        self._folder, self._measures = folder, measures
        self._kept: dict[tuple[str, Path], _Kept] = {}

    def seen(self, experiment: Experiment, unit: Unit, now_ms: int) -> Seen:
        """What came of an experiment that runs, with terms.

        Args:
            experiment: it.
            unit: of its layer.
            now_ms: as of which the log was joined.

        Raises:
            FulcrumError: a file cannot be read.
        """
        terms = experiment.terms
        assert terms is not None  # noqa: S101 - the caller has seen to it
        expressions, failed = self._measures.of(terms)
        since_ms = began_ms(experiment)
        window_ms = self._window_ms()
        newest, late_ms = self._feedback(since_ms)
        known_ms = since_ms if newest is None else min(now_ms - late_ms, newest)
        mature_ms = max(known_ms - window_ms, since_ms)
        frames = [_nothing(expressions)]
        for path, start_ms in self._hours(since_ms, now_ms + 1):
            complete_ms = min(max(mature_ms, start_ms), start_ms + HOUR_MS)
            _, frame, why = self._hour(experiment, unit, path, since_ms, complete_ms, expressions)
            frames.append(frame)
            failed = {**why, **failed}
        rows = pl.concat(frames).drop(f"{of} {name}" for name in failed.keys() & expressions for of in SUMS)
        before, without = None, dict[str, str]()
        if terms.before_days > 0.0 and unit == "user":
            # What an arm may have touched of an impression shown before is left out: its window is closed.
            high_ms = since_ms - window_ms
            low_ms = high_ms - round(terms.before_days * 86_400_000)
            known = {name: text for name, text in expressions.items() if name not in failed}
            before, without = self._before(unit, low_ms, high_ms, known)
        return Seen(rows, before, mature_ms, newest, failed, without)

    def keep(self, labels: Collection[str]) -> None:
        """Forget the hours of experiments that are not among these, `layer/experiment`."""
        gone = [of for of in self._kept if of[0] not in labels and not of[0].startswith("before ")]
        for of in gone:
            del self._kept[of]

    def _hour(
        self,
        experiment: Experiment,
        unit: Unit,
        path: Path,
        low_ms: int,
        mature_ms: int,
        expressions: Mapping[str, str],
    ) -> _Kept:
        kept_as = (f"{experiment.layer}/{experiment.id}", path)
        key = _Key(_file(path), low_ms, mature_ms, tuple(expressions.items()))
        known = self._kept.get(kept_as)
        if known is not None and known[0] == key:
            return known
        arm = pl.lit(None, pl.Int64)
        for place, one in enumerate(experiment.arms):
            label = f"{experiment.layer}/{experiment.id}:{one.name}"
            arm = pl.when(pl.col("arms").list.contains(label)).then(pl.lit(place, pl.Int64)).otherwise(arm)
        frame, columns = self._rows(
            path, unit, expressions, arm.alias("_arm"), pl.col("scene").alias("_scene")
        )
        frame = frame.filter(pl.col("_arm").is_not_null() & (pl.col("_ms") >= low_ms))
        found = self._kept[kept_as] = (key, *self._summed(frame, expressions, columns, mature_ms))
        return found

    def _summed(
        self, frame: pl.DataFrame, expressions: Mapping[str, str], columns: Collection[str], mature_ms: int
    ) -> tuple[pl.DataFrame, Mapping[str, str]]:
        values, failed = self._measures.values(frame, expressions, columns)
        mature = pl.col("_ms") < mature_ms
        so_far = [f"so_far {name}" for name in (REQUESTS, *expressions)]
        found = (
            frame.with_columns(pl.col("_first").cast(pl.Float64).alias(so_far[0]))
            .with_columns(pl.Series(f"so_far {name}", of) for name, of in values.items())
            .with_columns(
                (pl.col(name) * mature.cast(pl.Float64)).alias(f"mature {name.removeprefix('so_far ')}")
                for name in so_far
            )
            .group_by(unit="_unit", arm="_arm", scene="_scene")
            .agg(pl.col("_ms").max().alias("newest_ms"), pl.col("^(so_far|mature) .*$").sum())
            .select(_nothing(expressions).columns)
        )
        return found, failed

    def _before(
        self, unit: Unit, low_ms: int, high_ms: int, expressions: Mapping[str, str]
    ) -> tuple[pl.DataFrame, dict[str, str]]:
        parts, failed = [], dict[str, str]()
        for path, _ in self._hours(low_ms, high_ms):
            key = _Key(_file(path), low_ms, high_ms, tuple(expressions.items()))
            known = self._kept.get((f"before {unit}", path))
            if known is None or known[0] != key:
                frame, there = self._rows(path, unit, expressions)
                frame = frame.filter((pl.col("_ms") >= low_ms) & (pl.col("_ms") < high_ms))
                values, why = self._measures.values(frame, expressions, there)
                found = (
                    frame.with_columns(pl.Series(f"before {name}", of) for name, of in values.items())
                    .group_by(unit="_unit")
                    .agg(
                        pl.col("_first").sum().cast(pl.Float64).alias(f"before {REQUESTS}"),
                        *(pl.col(f"before {name}").sum() for name in expressions),
                    )
                )
                known = self._kept[f"before {unit}", path] = (key, found, why)
            parts.append(known[1])
            failed |= known[2]
        columns = [f"before {name}" for name in (REQUESTS, *expressions) if name not in failed]
        empty = pl.DataFrame(schema={"unit": pl.UInt64, **dict.fromkeys(columns, pl.Float64)})
        every = pl.concat([empty, *(part.select(empty.columns) for part in parts)])
        return every.group_by("unit").agg(pl.col(columns).sum()), failed

    def _rows(
        self, path: Path, unit: Unit, expressions: Mapping[str, str], *more: pl.Expr
    ) -> tuple[pl.DataFrame, list[str]]:
        """Rows of an hour whose unit is known, with `_unit`, `_ms`, `_first` and what metrics read; and every
        column that there is."""
        try:
            known = pl.read_parquet_schema(path)
            if COLUMN[unit] not in known:
                raise FulcrumError(
                    f"{path}: no column {COLUMN[unit]!r}, which has the {unit}s; the events are of an "
                    "earlier version of the service"
                )
            read = sorted(self._measures.columns(list(expressions.values()), known))
            lazy = pl.scan_parquet(path, hive_partitioning=False)
            # By hash: of a million units, two are alike with a probability of 3e-8.
            of_unit = pl.col(COLUMN[unit]).hash().alias("_unit")
            first = (pl.col("position") == 1).alias("_first")
            rows = lazy.filter(pl.col(COLUMN[unit]).is_not_null())
            named = pl.col("time_ms").alias("_ms")
            return rows.select(*read, of_unit, first, named, *more).collect(), list(known)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise FulcrumError(f"{path}: cannot be read as parquet ({str(error).splitlines()[0]})") from error

    def _hours(self, low_ms: int, high_ms: int) -> Iterator[tuple[Path, int]]:
        """Files of hours with some of these times, oldest first, each with its first millisecond."""
        for path in sorted(self._folder.glob("impressions/day=*/*.parquet")):
            start_ms = hour_start_ms(f"{path.parent.name.removeprefix('day=')}T{path.stem}")
            if start_ms + HOUR_MS > low_ms and start_ms < high_ms:
                yield path, start_ms

    def _window_ms(self) -> int:
        try:
            text = (self._folder / "catalogue.json").read_bytes()
        except FileNotFoundError:
            return 0  # nothing was joined yet
        return WrittenCatalogue.model_validate_json(text).events.longest_window_s * 1000

    def _feedback(self, since_ms: int) -> tuple[int | None, int]:
        """When the newest event of exposures since then happened, and how late the latest events come."""
        hours = [path for path in sorted((self._folder / "feedback").glob("*T*")) if path.is_dir()]
        hours = [path for path in hours if hour_start_ms(path.name) + HOUR_MS > since_ms][-_LATENESS_HOURS:]
        files = [file for hour in hours for file in sorted(hour.glob("[0-9]*.parquet"))]
        if not files:
            return None, 0
        late = (pl.col("received_ms") - pl.col("time_ms")).quantile(_LATE, "lower")
        found = pl.scan_parquet(files).select(newest=pl.col("time_ms").max(), late=late).collect()
        newest, late_ms = found.row(0)
        return newest, max(int(late_ms or 0), 0)


def began_ms(experiment: Experiment) -> int:
    """When the present comparison began: what was shown before does not count."""
    return max(experiment.since_ms or 0, experiment.start_ms or 0)


def _nothing(metrics: Collection[str]) -> pl.DataFrame:
    names = [f"{of} {name}" for name in (REQUESTS, *metrics) for of in SUMS]
    sums = dict.fromkeys(names, pl.Float64)
    ids = {"unit": pl.UInt64, "arm": pl.Int64, "scene": pl.String, "newest_ms": pl.Int64}
    return pl.DataFrame(schema={**ids, **sums})


def _file(path: Path) -> tuple[int, int, int]:
    found = path.stat()
    return found.st_ino, found.st_size, found.st_mtime_ns
