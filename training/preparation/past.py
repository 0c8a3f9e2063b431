"""The past of each row: priors and histories made of the log itself, strictly before the row's time.

A row sees the rows of its key that were known before it: `known = time + delay < time of the row`. Rows
of one moment do not see each other. The same functions serve those who ask from outside the log, at a time of
their own: an entity that is published sees what the next impression would see. Knows neither features nor
networks.

Shapes: L rows of the log, E events (the rows that count for one prior or history), Q rows that ask.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from model.encoding.columns import ListColumn
from model.errors import FulcrumError
from model.schema import DataSpec
from model.schema.past import HistorySpec, PriorSpec
from training.preparation.columns import coded, comparable_keys
from training.preparation.expressions import floats, of_the_row_alone, require

_Ints = npt.NDArray[np.int64]
_Floats = npt.NDArray[np.float64]
_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
_DAY_S = 86_400.0


@dataclass(frozen=True)
class Clock:
    """The log's time as numbers.

    Attributes:
        ticks: time of each row, ascending, int64 or float64 [L].
        per_second: ticks in a second; None where the log does not say.
        until: rows from this moment on see what was known at it; None for what was known at their own.
    """

    ticks: _Ints | _Floats
    per_second: float | None
    until: int | float | None = None

    @classmethod
    def of(cls, data: DataSpec, frame: pl.DataFrame) -> Clock:
        """Read the time column of a log that is sorted by it.

        Raises:
            FulcrumError: it holds neither numbers nor moments.
        """
        times = frame[data.time or ""]
        kind = times.dtype
        if isinstance(kind, pl.Datetime):
            until = _moment(data.past_until, kind)
            return cls(times.to_physical().to_numpy(), _PER_SECOND[kind.time_unit or "us"], until)
        if kind == pl.Date:
            until = _moment(data.past_until, kind)
            return cls(times.to_physical().cast(pl.Int64).to_numpy(), 1.0 / _DAY_S, until)
        if isinstance(data.past_until, str):
            raise FulcrumError(
                f"data.past_until: expected a number, as in the column {times.name}, "
                f"found {data.past_until!r}"
            )
        per_second = None if data.time_unit is None else _PER_SECOND[data.time_unit]
        if kind.is_integer():
            return cls(times.cast(pl.Int64).to_numpy(), per_second, data.past_until)
        if kind.is_float():
            return cls(times.cast(pl.Float64).to_numpy(), per_second, data.past_until)
        raise FulcrumError(
            f"data.time: priors and histories need a number, a date or a timestamp; {times.name} is {kind}"
        )

    def span(self, seconds: float, field: str) -> float:
        """So many seconds in ticks."""
        if not seconds:
            return 0.0
        if self.per_second is None:
            raise FulcrumError(f"{field}: say in data.time_unit what a unit of the time is (s, ms, us or ns)")
        return seconds * self.per_second

    def seen_at(self, times: _Ints | _Floats) -> _Ints | _Floats:
        """As of when rows of these times see the past."""
        return times if self.until is None else np.minimum(times, np.asarray(self.until, times.dtype))

    def end(self, rows: int) -> _Ints | _Floats:
        """The first moment after the log, for each of so many rows."""
        last = self.ticks[-1]
        return np.full(rows, last + 1 if self.ticks.dtype.kind == "i" else np.nextafter(last, np.inf))


def _moment(text: int | float | str | None, kind: pl.DataType) -> int | None:
    """A date or a timestamp as the log's time counts it."""
    if text is None:
        return None
    try:
        written = pl.Series([text], dtype=pl.String)
        if isinstance(kind, pl.Datetime):
            moment = written.str.to_datetime(time_unit=kind.time_unit).dt.replace_time_zone(kind.time_zone)
        else:
            moment = written.str.to_date()
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise FulcrumError(
            f"data.past_until: expected a moment such as '2026-03-01' in quotes, found {text!r}"
        ) from error
    return int(moment.to_physical()[0])


@dataclass(frozen=True)
class _View:
    """Which events each asking row sees: events are sorted by key, then by the time they were known.

    Attributes:
        order: events in that order, int64 [E].
        keys: theirs, int64 [E].
        first: the key's first event, int64 [Q].
        stop: the first event that the row does not see, int64 [Q]; `first` where it sees none.
    """

    order: _Ints
    keys: _Ints
    first: _Ints
    stop: _Ints

    @classmethod
    def of(cls, keys: _Ints, moments: _Ints, asking: _Ints, asked: _Ints) -> _View:
        """See the events that precede.

        Args:
            keys: each event's key, not negative, [E].
            moments: of each event: it is seen from this moment on, [E].
            asking: key of each row, negative where it has none, [Q].
            asked: moment of each row, [Q].
        """
        span = 2 + max(int(moments.max(initial=0)), int(asked.max(initial=0)))
        place = keys * span + moments
        order = np.argsort(place, kind="stable")
        place = place[order]
        begins = asking * span
        in_order = np.argsort(begins + asked, kind="stable")  # a search in order stays within the cache
        begins, ends = begins[in_order], (begins + asked)[in_order]
        first, stop = np.empty_like(asking), np.empty_like(asking)
        first[in_order] = np.searchsorted(place, begins, side="left")
        stop[in_order] = np.searchsorted(place, ends, side="right")
        return cls(order, keys[order], first, np.where(asking < 0, first, stop))


class _Asking:
    """Events of one prior or history, and the rows that ask about them."""

    def __init__(
        self,
        spec: PriorSpec | HistorySpec,
        log: pl.DataFrame,
        clock: Clock,
        counts: npt.NDArray[np.bool_],
        rows: pl.DataFrame,
        times: _Ints | _Floats,
    ) -> None:
        field = _field(spec)
        require(log, spec.by, f"{field}.by")
        require(rows, spec.by, f"{field}.by")
        self.log_keys, self.asking = _keys(log, rows, spec.by)
        self.events = np.flatnonzero(counts & (self.log_keys >= 0))
        self.keys = self.log_keys[self.events]
        self.happened = clock.ticks[self.events]
        self.log, self.clock, self.rows, self.times = log, clock, rows, times
        delay = clock.span(spec.delay_s, f"{field}.delay_s")
        # Whole ticks stay whole: a float has no place for today's nanoseconds.
        known = self.happened + (math.ceil(delay) if clock.ticks.dtype.kind == "i" else delay)
        self._moments = np.unique(times if rows is log else np.concatenate([clock.ticks, times]))
        self.seen_from = np.searchsorted(self._moments, known, side="right").astype(np.int64)
        self.asked = self.moments(times)

    def moments(self, ticks: _Ints | _Floats) -> _Ints:
        """Times as numbers of moments, so that earlier ones have smaller numbers."""
        return np.searchsorted(self._moments, ticks, side="left").astype(np.int64)

    def view(self, *, common: bool = False) -> _View:
        """What each row sees of its key's events, or of all events."""
        if common:
            nought = np.zeros(len(self.keys), np.int64), np.zeros(len(self.asking), np.int64)
            return _View.of(nought[0], self.seen_from, nought[1], self.asked)
        return _View.of(self.keys, self.seen_from, self.asking, self.asked)


def prior_columns(
    spec: PriorSpec, log: pl.DataFrame, clock: Clock, rows: pl.DataFrame, times: _Ints | _Floats
) -> pl.DataFrame:
    """Mean, count and age of what each row's past gave: the columns that the prior makes, [Q].

    Args:
        spec: what to make.
        log: the log in the order of time, [L].
        clock: its time.
        rows: who asks: the log itself, or any rows that have the columns of `by`, [Q].
        times: when, in the clock's ticks, [Q].

    Raises:
        FulcrumError: an expression fails or knows other rows than its own, or a column is absent.
    """
    field = _field(spec)
    values = floats(log, spec.of, f"{field}.of", alone=True)
    counts = np.isfinite(values) & _where(spec, log, field)
    asking = _Asking(spec, log, clock, counts, rows, times)
    values = values[asking.events]
    life = None
    if spec.half_life_days is not None:
        life = clock.span(spec.half_life_days * _DAY_S, f"{field}.half_life_days")
    view = asking.view()
    total, number = _sums(view, values, asking, life)
    all_total, all_number = _sums(asking.view(common=True), values, asking, life)
    with np.errstate(invalid="ignore", divide="ignore"):
        common = all_total / all_number
        mean = (total + spec.smoothing * common) / (number + spec.smoothing)
    seen = view.stop > view.first
    age = np.full(len(times), np.nan)
    if clock.per_second is not None:
        last = view.order[view.stop[seen] - 1]
        age[seen] = (times[seen] - asking.happened[last]) / clock.per_second
    keyless = asking.asking < 0
    columns = (np.where(keyless, np.nan, mean), np.where(keyless, np.nan, number), age)
    return pl.DataFrame(
        [
            pl.Series(name, column, nan_to_null=True)
            for name, column in zip(spec.columns, columns, strict=True)
        ]
    )


def history(
    spec: HistorySpec, log: pl.DataFrame, clock: Clock, rows: pl.DataFrame, times: _Ints | _Floats
) -> ListColumn:
    """What each row's past gave, the last values in the order of time: [Q].

    Args and raises: as for `prior_columns`; where the history has a seed, log or rows hold its column.
    """
    field = _field(spec)
    values = of_the_row_alone(spec.of, log, f"{field}.of")
    if values.dtype.is_nested():
        raise FulcrumError(f"{field}.of: {spec.of!r} gives {values.dtype}, expected one value a row")
    counts = values.is_not_null().to_numpy() & _where(spec, log, field)
    asking = _Asking(spec, log, clock, counts, rows, times)
    values = values.gather(asking.events)
    keys, moments = asking.keys, asking.seen_from
    if spec.seed is not None:
        values, keys, moments = _seeded(spec.seed, f"{field}.seed", asking, values)
    view = _View.of(keys, moments, asking.asking, asking.asked)
    return ListColumn(
        coded(values.gather(view.order), f"{field}.of"),
        np.maximum(view.first, view.stop - spec.last),
        view.stop,
    )


def _field(spec: PriorSpec | HistorySpec) -> str:
    return f"data.{'priors' if isinstance(spec, PriorSpec) else 'histories'}.{spec.name}"


def _where(spec: PriorSpec | HistorySpec, log: pl.DataFrame, field: str) -> npt.NDArray[np.bool_]:
    if spec.where is None:
        return np.ones(log.height, np.bool_)
    return np.asarray(floats(log, spec.where, f"{field}.where", alone=True) == 1.0)


def _keys(log: pl.DataFrame, rows: pl.DataFrame, by: Sequence[str]) -> tuple[_Ints, _Ints]:
    """The keys of the log's and of the asking rows as numbers, -1 where a part is null: [L], [Q]."""
    apart = rows is not log
    numbers = np.zeros(log.height + (rows.height if apart else 0), np.int64)
    null = np.zeros(len(numbers), np.bool_)
    for name in by:
        values = _stacked(*_comparable(log[name], rows[name]), f"column {name!r}") if apart else log[name]
        ranks = values.rank("dense")
        null |= ranks.is_null().to_numpy()
        part = ranks.fill_null(0).cast(pl.Int64).to_numpy()
        numbers = numbers * (part.max(initial=0) + 1) + part
        if len(by) > 1:  # so that many parts stay within 64 bits
            numbers = np.unique(numbers, return_inverse=True)[1]
    numbers[null] = -1
    return numbers[: log.height], numbers[log.height :] if apart else numbers


def _comparable(first: pl.Series, second: pl.Series) -> tuple[pl.Series, pl.Series]:
    if first.dtype.is_numeric() == second.dtype.is_numeric():
        return first, second
    return comparable_keys(first), comparable_keys(second)


def _stacked(first: pl.Series, second: pl.Series, field: str) -> pl.Series:
    try:
        parts = [first.alias("value").to_frame(), second.alias("value").to_frame()]
        return pl.concat(parts, how="vertical_relaxed")["value"]
    except pl.exceptions.PolarsError as error:
        raise FulcrumError(f"{field}: {first.dtype} and {second.dtype} cannot be one column") from error


def _sums(view: _View, values: _Floats, asking: _Asking, life: float | None) -> tuple[_Floats, _Floats]:
    """Sum and number of the events that each row sees, decayed by age where events have a half-life: [Q]."""
    ordered = values[view.order]
    if life is None:
        # Each key's sum begins anew: a huge value of one must not swallow the digits of the next.
        events = pl.DataFrame({"key": pl.Series(view.keys).set_sorted(), "value": ordered})
        running = events.select(pl.col("value").cum_sum().over("key"))["value"].to_numpy()
        seen = view.stop > view.first
        total = np.zeros(len(seen))
        total[seen] = running[view.stop[seen] - 1]
        return total, (view.stop - view.first).astype(np.float64)
    happened = asking.happened[view.order]
    gaps = np.full(len(ordered), np.inf)
    follows = view.keys[1:] == view.keys[:-1]
    gaps[1:][follows] = np.diff(happened)[follows] / life
    sums, numbers = _decayed(np.stack([ordered, np.ones(len(ordered))]), np.exp2(-gaps))
    seen = view.stop > view.first
    last = view.stop[seen] - 1
    left = np.exp2((happened[last] - asking.times[seen]) / life)
    total, number = np.zeros(len(seen)), np.zeros(len(seen))
    total[seen], number[seen] = sums[last] * left, numbers[last] * left
    return total, number


def _decayed(values: _Floats, factors: _Floats) -> _Floats:
    """Running sums `s[i] = factors[i] * s[i - 1] + values[i]` along the last axis, by doubling strides.

    A product of the factors' powers would overflow over a log of many half-lives; this does not.
    """
    sums, factors = values.copy(), factors.copy()
    stride = 1
    while stride < len(factors) and factors.any():
        sums[:, stride:] += factors[stride:] * sums[:, :-stride]
        factors[stride:] *= factors[:-stride]
        stride *= 2
    return sums


def _seeded(name: str, field: str, asking: _Asking, values: pl.Series) -> tuple[pl.Series, _Ints, _Ints]:
    """Events with those of a list column before them: its values, keys and moments.

    A key's list is the first that one of its rows has. It is seen from that row on, and stands where it
    became known.
    """
    clock = asking.clock
    moments = asking.moments(clock.seen_at(clock.ticks))
    lists, keys = _seeds(asking.log, name, field), asking.log_keys
    if asking.rows is not asking.log:
        lists = _stacked(lists, _seeds(asking.rows, name, field), field)
        keys, moments = np.concatenate([keys, asking.asking]), np.concatenate([moments, asking.asked])
    holding = np.flatnonzero(lists.is_not_null().to_numpy() & (keys >= 0))
    first = holding[np.unique(keys[holding], return_index=True)[1]]
    taken = lists.gather(first)
    lengths = taken.list.len().cast(pl.Int64).to_numpy()
    elements = taken.filter(lengths > 0).explode()
    return (
        _stacked(elements, values, field),
        np.concatenate([np.repeat(keys[first], lengths), asking.keys]),
        np.concatenate([np.repeat(moments[first], lengths), asking.seen_from]),
    )


def _seeds(frame: pl.DataFrame, name: str, field: str) -> pl.Series:
    require(frame, [name], field)
    lists = frame[name]
    if lists.dtype == pl.Null:
        return lists.cast(pl.List(pl.Null))
    if not isinstance(lists.dtype, pl.List):
        raise FulcrumError(f"{field}: expected a column of lists, found {lists.dtype}")
    return lists.list.drop_nulls()
