"""Priors and histories: what a row may know of the rows before it, and nothing of any other."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import FulcrumError
from model.schema import DataSpec
from model.schema.past import HistorySpec, PriorSpec
from tests.support.properties import examples
from training.preparation.past import Clock, history, prior_columns

NUMBERS = st.none() | st.integers(0, 4).map(float)
EVENTS = st.lists(
    st.tuples(st.none() | st.integers(0, 2), st.integers(0, 1), st.integers(0, 8), NUMBERS, st.booleans()),
    min_size=1,
    max_size=14,
)
DELAY_S = 2


def log_of(rows):
    return pl.DataFrame(
        rows,
        schema={
            "user": pl.Int64,
            "tab": pl.Int64,
            "time": pl.Int64,
            "label": pl.Float64,
            "counts": pl.Boolean,
        },
        orient="row",
    ).sort("time", maintain_order=True)


def clock_of(log, unit="s"):
    data = DataSpec.model_validate(
        {"user": "user", "time": "time", "time_unit": unit, "split": {"last": 0.5}}
    )
    return Clock.of(data, log)


def prior(log, unit="s", rows=None, times=None, **declared):
    spec = PriorSpec.model_validate({"name": "rate", "by": "user", "of": "label", **declared})
    clock = clock_of(log, unit)
    asking = log if rows is None else rows
    return prior_columns(spec, log, clock, asking, clock.ticks if times is None else times)


def last_of(log, rows=None, times=None, unit="s", **declared):
    spec = HistorySpec.model_validate({"name": "seen", "by": "user", "of": "label", **declared})
    clock = clock_of(log, unit)
    asking = log if rows is None else rows
    found = history(spec, log, clock, asking, clock.ticks if times is None else times)
    return [found.value(row) for row in range(len(found))]


def earlier(log, row, by, delay=0):
    """The rows that count and were known strictly before this one, by the definition."""
    rows = log.to_dicts()
    asking = rows[row]
    return [
        other
        for other in rows
        if other["label"] is not None
        and other["counts"]
        and all(other[name] is not None and other[name] == asking[name] for name in by)
        and other["time"] + delay < asking["time"]
    ]


@examples(150)
@given(
    EVENTS,
    st.sampled_from([("user",), ("user", "tab")]),
    st.sampled_from([0, DELAY_S]),
    st.sampled_from([None, 2.5 / 86_400]),
    st.sampled_from([0.0, 3.0]),
)
def test_a_prior_is_made_of_the_rows_strictly_before_its_row(rows, by, delay_s, half_life_days, smoothing):
    log = log_of(rows)
    found = prior(
        log, by=by, where="counts", delay_s=delay_s, half_life_days=half_life_days, smoothing=smoothing
    )
    for row, (mean, count, age) in enumerate(found.iter_rows()):
        if any(log[name][row] is None for name in by):
            assert (mean, count, age) == (None, None, None)
            continue
        now = log["time"][row]

        def weight(other, now=now):
            return 1.0 if half_life_days is None else 0.5 ** ((now - other["time"]) / 2.5)

        own = earlier(log, row, by, delay_s)
        everybody = [
            other
            for other in log.to_dicts()
            if other["label"] is not None and other["counts"] and other["time"] + delay_s < now
            if all(other[name] is not None for name in by)
        ]
        number = sum(map(weight, own))
        assert count == pytest.approx(number)
        assert age == (now - max(other["time"] for other in own) if own else None)
        all_number = sum(map(weight, everybody))
        if not all_number or not (number + smoothing):
            assert mean is None
            continue
        common = sum(weight(other) * other["label"] for other in everybody) / all_number
        total = sum(weight(other) * other["label"] for other in own)
        assert mean == pytest.approx((total + smoothing * common) / (number + smoothing))


@examples(150)
@given(
    EVENTS, st.sampled_from([("user",), ("user", "tab")]), st.sampled_from([0, DELAY_S]), st.integers(1, 3)
)
def test_a_history_is_made_of_the_rows_strictly_before_its_row(rows, by, delay_s, last):
    log = log_of(rows)
    found = last_of(log, by=by, where="counts", delay_s=delay_s, last=last)
    for row, values in enumerate(found):
        assert values == [other["label"] for other in earlier(log, row, by, delay_s)][-last:]


@examples(60)
@given(EVENTS, st.integers(0, 8), st.data())
def test_what_comes_later_changes_nothing(rows, now, data):
    log = log_of(rows)
    changed = log_of(
        [
            row if row[2] < now else (*row[:3], data.draw(NUMBERS), data.draw(st.booleans()))
            for row in log.iter_rows()
        ]
    )
    until = int((log["time"] <= now).sum())
    assert prior(log, where="counts").head(until).equals(prior(changed, where="counts").head(until))
    assert last_of(log, where="counts")[:until] == last_of(changed, where="counts")[:until]


@examples(60)
@given(EVENTS, st.sampled_from([{}, {"half_life_days": 1e-4}, {"delay_s": DELAY_S}]))
def test_who_asks_at_the_end_sees_what_the_next_row_would_see(rows, declared):
    log = log_of(rows)
    users = [0, 1, 2, 7, None]
    asking = pl.DataFrame({"user": users}, schema={"user": pl.Int64})
    times = clock_of(log).end(len(users))
    found = prior(log, rows=asking, times=times, **declared)
    lists = {} if "half_life_days" in declared else {"found": last_of(log, asking, times, **declared)}
    for place, user in enumerate(users):
        longer = log_of([*log.iter_rows(), (user, 0, log["time"][-1] + 1, 1.0, True)])
        assert prior(longer, **declared).row(-1) == found.row(place)
        if lists:
            assert last_of(longer, **declared)[-1] == lists["found"][place]


def test_a_long_log_of_many_half_lives_stays_finite_and_exact():
    random = np.random.default_rng(3)
    count = 20_000
    log = log_of(
        zip(
            random.integers(0, 3, count).tolist(),
            [0] * count,
            sorted(random.integers(0, 10_000_000, count).tolist()),
            random.random(count).tolist(),
            [True] * count,
            strict=True,
        )
    )
    life_s = 1_000.0
    found = prior(log, half_life_days=life_s / 86_400, smoothing=0.0)
    times, users, labels = (log[name].to_numpy() for name in ("time", "user", "label"))
    for row in (10, 5_000, count - 1):
        own = (users == users[row]) & (times < times[row])
        weights = np.exp2((times[own] - times[row]) / life_s)
        assert found["rate"][row] == pytest.approx(weights @ labels[own] / weights.sum(), rel=1e-9)
        assert found["rate_count"][row] == pytest.approx(weights.sum(), rel=1e-9)


def test_a_history_goes_on_from_its_seed():
    log = pl.DataFrame(
        {
            "user": [1, 2, 1, 3, 1],
            "time": [1, 2, 3, 4, 5],
            "video": [10, 20, 11, 30, 12],
            "before": [None, [7, 8], [5, 6], None, [99]],
        },
        schema_overrides={"before": pl.List(pl.Int32)},
    )
    # User 1's list is known from the third row on, and stands where it became known.
    assert last_of(log, of="video", seed="before", last=3) == [[], [7, 8], [10, 5, 6], [], [5, 6, 11]]
    asking = pl.DataFrame(
        {"user": [4, 2, 1], "before": [[1, None, 2], None, [3]]},
        schema_overrides={"before": pl.List(pl.Int64)},
    )
    found = last_of(log, asking, clock_of(log).end(3), of="video", seed="before", last=3)
    assert found == [[1, 2], [7, 8, 20], [6, 11, 12]]


@pytest.mark.parametrize(
    ("times", "unit"),
    [
        ([1, 61, 61, 3661], "s"),
        ([1_000.0, 61_000.0, 61_000.0, 3_661_000.0], "ms"),
        ([datetime(2022, 5, 1, tzinfo=UTC) + timedelta(seconds=s) for s in (1, 61, 61, 3661)], None),
        ([datetime(2022, 5, 1) + timedelta(seconds=s) for s in (1, 61, 61, 3661)], "ms"),
    ],
)
def test_seconds_mean_the_same_in_every_kind_of_time(times, unit):
    log = pl.DataFrame({"user": [1, 1, 1, 1], "time": times, "label": [1.0, 0.0, 1.0, 0.0]})
    found = prior(log, unit, smoothing=0.0)
    assert found["rate_age_s"].to_list() == [None, 60.0, 60.0, 3600.0]
    assert prior(log, unit, delay_s=60)["rate_count"].to_list() == [0.0, 0.0, 0.0, 3.0]
    assert prior(log, unit, delay_s=59)["rate_count"].to_list() == [0.0, 1.0, 1.0, 3.0]


def test_days_are_moments_too_and_those_of_one_day_do_not_see_each_other():
    days = [date(2022, 5, day) for day in (1, 2, 2, 4)]
    log = pl.DataFrame({"user": [1, 1, 1, 1], "time": days, "label": [1.0, 0.0, 1.0, 0.0]})
    found = prior(log, None, smoothing=0.0)
    assert found["rate_count"].to_list() == [0.0, 1.0, 1.0, 3.0]
    assert found["rate_age_s"].to_list() == [None, 86_400.0, 86_400.0, 172_800.0]
    # A delay of half a day is over only when the next day begins.
    assert prior(log, None, delay_s=43_200)["rate_count"].to_list() == [0.0, 0.0, 0.0, 3.0]


def test_without_a_unit_a_time_that_is_a_number_only_orders():
    log = log_of([(1, 0, 1, 1.0, True), (1, 0, 2, 0.0, True)])
    assert prior(log, None)["rate_age_s"].to_list() == [None, None]
    for declared in ({"delay_s": 5}, {"half_life_days": 1}):
        with pytest.raises(FulcrumError, match=r"data\.priors\.rate\..*: say in data\.time_unit"):
            prior(log, None, **declared)


def test_text_is_no_time_to_look_back_in():
    log = pl.DataFrame({"user": [1], "time": ["2022-05-01"], "label": [1.0]})
    with pytest.raises(FulcrumError, match="a number, a date or a timestamp; time is String"):
        prior(log)


@pytest.mark.parametrize(
    ("declared", "match"),
    [
        ({"by": ["user", "city"]}, r"data\.priors\.rate\.by: column 'city' is not in the data"),
        ({"of": "likes"}, r"data\.priors\.rate\.of: column 'likes' is not in the data"),
        (
            {"of": "label - avg(label)"},
            r"data\.priors\.rate\.of: .* another value when other rows are left out",
        ),
        ({"where": "label > avg(label)"}, r"data\.priors\.rate\.where: .* another value when other rows"),
        ({"where": "label +"}, r"data\.priors\.rate\.where: .* is no Polars SQL expression"),
    ],
)
def test_a_mistake_is_refused_by_its_place(declared, match):
    with pytest.raises(FulcrumError, match=match):
        prior(log_of([(1, 0, 1, 1.0, True), (1, 0, 2, 0.0, True)]), **declared)


def test_a_seed_that_is_no_list_is_refused():
    with pytest.raises(
        FulcrumError, match=r"data\.histories\.seen\.seed: expected a column of lists, .*Int64"
    ):
        last_of(log_of([(1, 0, 1, 1.0, True)]), seed="tab")


def test_a_constant_counts_exposures():
    log = log_of([(1, 0, time, None, True) for time in (1, 2, 2, 3)])
    assert prior(log, of="1")["rate_count"].to_list() == [0.0, 1.0, 1.0, 3.0]
    assert math.isclose(prior(log, of="1")["rate"][3], 1.0)


@pytest.mark.parametrize(
    ("times", "until"),
    [
        ([1, 2, 3, 4], 3),
        ([1.0, 2.0, 3.0, 4.0], 2.5),
        ([date(2022, 5, day) for day in (1, 2, 3, 4)], "2022-05-03"),
        ([datetime(2022, 5, day) for day in (1, 2, 3, 4)], "2022-05-02T12:00:00"),
        ([datetime(2022, 5, day, tzinfo=UTC) for day in (1, 2, 3, 4)], "2022-05-03"),
    ],
)
def test_the_past_ends_at_a_moment_of_the_logs_own_kind(times, until):
    log = pl.DataFrame({"user": [1] * 4, "time": times, "label": [1.0] * 4})
    data = {"user": "user", "time": "time", "split": {"last": 0.5}, "past_until": until}
    rate = PriorSpec.model_validate({"name": "rate", "by": "user", "of": "label"})
    clock = Clock.of(DataSpec.model_validate({**data, "priors": [rate]}), log)
    found = prior_columns(rate, log, clock, log, clock.seen_at(clock.ticks))
    assert found["rate_count"].to_list() == [0.0, 1.0, 2.0, 2.0]


@pytest.mark.parametrize(
    ("times", "until", "said"),
    [
        ([1, 2], "2022-05-03", "expected a number, as in the column time, found '2022-05-03'"),
        ([date(2022, 5, 1)] * 2, 7, "expected a moment such as '2026-03-01' in quotes, found 7"),
        ([datetime(2022, 5, 1)] * 2, "soon", "expected a moment .* found 'soon'"),
    ],
)
def test_a_moment_of_another_kind_is_refused(times, until, said):
    log = pl.DataFrame({"user": [1, 1], "time": times, "label": [1.0, 1.0]})
    prior_ = {"name": "rate", "by": "user", "of": "label"}
    data = {"user": "user", "time": "time", "split": {"last": 0.5}, "past_until": until, "priors": [prior_]}
    with pytest.raises(FulcrumError, match=rf"data\.past_until: {said}"):
        Clock.of(DataSpec.model_validate(data), log)


def test_a_huge_value_of_one_key_leaves_the_means_of_others_as_they_are():
    rows = [(user, 1, time, float(time % 2)) for time in range(40) for user in ("a", "m", "z")]
    log = pl.DataFrame(rows, schema=["user", "item", "time", "label"], orient="row")
    spoilt = log.with_columns(label=pl.when(pl.col("user") == "m").then(1e17).otherwise(pl.col("label")))
    others = (log["user"] != "m").to_numpy()
    plain, beside = (prior(each, smoothing=0)["rate"].to_numpy()[others] for each in (log, spoilt))
    np.testing.assert_array_equal(beside, plain)
