"""Measuring: what planning needs to know of a past period: how far values of requests spread, how alike
those of one unit are, and how many there are.

The design effect is that of an experiment which changed nothing: units are dealt into two arms by a coin, and
the error of the arms' difference, with its covariate, is divided by that of as many independent requests.
Shapes: R requests, U units.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from model.errors import FulcrumError
from model.experiments import Terms, Unit
from training.experiments.differences import LEAST_UNITS, ArmSums, Covariate, difference
from training.experiments.planning import DesignEffect
from training.experiments.units import Floats, Ints
from training.experiments.watching.measures import REWARD, Measures
from training.experiments.watching.reading import COLUMN

_DAY_MS = 86_400_000
_LEAST_MS = 60_000
"""That requests are taken to span."""


@dataclass(frozen=True)
class Measured:
    """Of a log.

    Attributes:
        requests, units: those that count, without the days that are known before.
        days: from the first to the last of these.
        requests_a_day: of these, as if the whole day were like them where it is less than one.
        mean: of a request's value.
        deviation: its standard deviation, by its mean.
        design: the design effect; a part of a day counts as one.
    """

    requests: int
    units: int
    days: float
    requests_a_day: float
    mean: float
    deviation: float
    design: DesignEffect

    def report(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def measure_log(
    folder: Path,
    measures: Measures,
    unit: Unit = "user",
    *,
    scene: str | None = None,
    before_days: float = 0.0,
    open_too: bool = False,
) -> Measured:
    """What a joined log says of the reward of its requests.

    Args:
        folder: that `fulcrum events join` wrote.
        measures: gives the reward.
        unit: what arms would be dealt to.
        scene: whose requests count; all where None.
        before_days: first days of the log that are known before, as a covariate of the others.
        open_too: also impressions whose windows were open when they were joined.

    Raises:
        FulcrumError: no joined log, nothing in it that counts, or a reward that fails.
    """
    expressions, failed = measures.of(Terms(primary=REWARD, metrics={}, days=1.0, planned_error=1.0))
    _refuse(failed)
    frames = list(_requests(folder, measures, expressions, unit, scene, open_too))
    if not sum(frame.height for frame in frames):
        why = "has no requests that count" if frames else "holds no impressions/day=*/*.parquet"
        raise FulcrumError(
            f"--log {folder}: {why}; expected what `fulcrum events join` writes once windows have closed "
            "(--open takes impressions as they are)"
        )
    found = pl.concat(frames)
    number = found["unit"].rank("dense").cast(pl.Int64).to_numpy() - 1
    return measure(
        number,
        found["value"].to_numpy(),
        found["time_ms"].to_numpy(),
        comes_again=unit == "user",
        before_days=before_days,
    )


def measure(
    unit: Ints, value: Floats, time_ms: Ints, *, comes_again: bool, before_days: float = 0.0, seed: int = 0
) -> Measured:
    """What requests say.

    Args:
        unit: of each, numbered from 0 [R].
        value: of each [R].
        time_ms: Unix time [R].
        comes_again: whether units come again on other days.
        before_days: first days that are known before.
        seed: of the coin.

    Raises:
        FulcrumError: too few units, or a mean that is not above 0.
    """
    start = int(time_ms.min()) + round(before_days * _DAY_MS)
    now = time_ms >= start
    count = int(unit.max()) + 1
    rows = np.bincount(unit[now], minlength=count).astype(np.float64)
    seen = rows > 0.0
    sums = _summed(unit[now], value[now], count)
    known = Covariate(
        _summed(unit[~now], value[~now], count), _summed(unit[~now], np.ones(int((~now).sum())), count)
    )
    coin = np.random.default_rng(seed).random(count) < 0.5
    requests, units = int(now.sum()), int(seen.sum())
    if min(int((seen & coin).sum()), int((seen & ~coin).sum())) < LEAST_UNITS:
        raise FulcrumError(
            f"the log has {units:,} units in {requests:,} requests that count; expected {3 * LEAST_UNITS} "
            "and more to measure how alike the requests of one are"
        )
    mean = float(value[now].mean())
    if not mean > 0.0:
        raise FulcrumError(
            f"the mean of what counts is {mean:g}; expected one above 0: differences are fractions of it"
        )
    days = max(float(time_ms.max() - start), _LEAST_MS) / _DAY_MS
    deviation = float(value[now].std()) / mean
    sides = [_side(seen & side, sums, rows, known if before_days > 0.0 else None) for side in (~coin, coin)]
    error = difference(*sides).error
    independent = deviation**2 * sum(1.0 / side.count.sum() for side in sides)
    effect = error**2 / independent if independent > 0.0 else math.nan
    if not effect > 0.0:
        raise FulcrumError("every request of the log is worth the same: there is nothing to plan for")
    return Measured(
        requests,
        units,
        days,
        requests / days,
        mean,
        deviation,
        DesignEffect(effect, max(days, 1.0) if comes_again else None),
    )


def _refuse(failed: Mapping[str, str]) -> None:
    for name, why in failed.items():
        raise FulcrumError(f"metric {name!r}: {why}")


def _summed(unit: Ints, value: Floats, count: int) -> Floats:
    return np.bincount(unit, value, count).astype(np.float64)


def _side(mine: Any, sums: Floats, rows: Floats, known: Covariate | None) -> ArmSums:
    before = None if known is None else Covariate(known.value[mine], known.count[mine])
    return ArmSums(sums[mine], rows[mine], before)


def _requests(
    folder: Path,
    measures: Measures,
    expressions: dict[str, str],
    unit: Unit,
    scene: str | None,
    open_too: bool,
) -> Iterator[pl.DataFrame]:
    """`unit, value, time_ms` of each request, an hour at a time."""
    for path in sorted(folder.glob("impressions/day=*/*.parquet")):
        try:
            known = pl.read_parquet_schema(path)
            if COLUMN[unit] not in known:
                raise FulcrumError(
                    f"{path}: no column {COLUMN[unit]!r}, which has the {unit}s; the events are of an "
                    "earlier version of the service"
                )
            read = sorted(measures.columns(list(expressions.values()), known))
            rows = pl.scan_parquet(path, hive_partitioning=False).filter(pl.col(COLUMN[unit]).is_not_null())
            if scene is not None:
                rows = rows.filter(pl.col("scene") == scene)
            if not open_too:
                rows = rows.filter(pl.col("mature"))
            ids = (
                pl.col("exposure_id").alias("_request"),
                pl.col(COLUMN[unit]).hash().alias("_unit"),
                pl.col("time_ms").alias("_ms"),
            )
            frame = rows.select(*read, *ids).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise FulcrumError(f"{path}: cannot be read as parquet ({str(error).splitlines()[0]})") from error
        values, failed = measures.values(frame, expressions, known)
        _refuse(failed)
        yield (
            frame.select("_request", "_unit", "_ms", pl.Series("_value", values[REWARD]))
            .group_by("_request")
            .agg(unit=pl.col("_unit").first(), value=pl.col("_value").sum(), time_ms=pl.col("_ms").first())
            .select("unit", "value", "time_ms")
        )
