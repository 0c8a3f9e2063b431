import numpy as np

from training.experiments import Units


def days(rng, count=3):
    for _ in range(count):
        rows = rng.integers(0, 40, 100)
        unit = np.array([f"u{number}" for number in rows], np.object_)
        yield unit, rows % 2, {"reward": rng.random(100)}


def test_sums_do_not_depend_on_the_order_of_days():
    every = list(days(np.random.default_rng(1)))
    one, other = (
        Units.none(("control", "treated"), ("reward",)),
        Units.none(("control", "treated"), ("reward",)),
    )
    for day in every:
        one = one.add(*day)
    for day in reversed(every):
        other = other.add(*day)
    assert (one.unit == other.unit).all()
    assert (one.rows == other.rows).all()
    assert np.allclose(one.sums["reward"], other.sums["reward"])
    assert one.rows.sum() == 300
    whole = np.concatenate([day[2]["reward"][day[0] == one.unit[0]] for day in every])
    assert np.isclose(one.sums["reward"][0], whole.sum())


def test_a_unit_of_two_arms_is_found_and_counts_in_none():
    units = Units.none(("control", "treated"), ("reward",))
    units = units.add(np.array(["a", "b"]), np.array([0, 1]), {"reward": np.array([1.0, 2.0])})
    units = units.add(np.array(["a", "c"]), np.array([1, 0]), {"reward": np.array([4.0, 8.0])})
    assert units.unit[units.crossed].tolist() == ["a"]
    assert units.counts().tolist() == [1, 1]
    assert units.of_arm("control")["reward"].tolist() == [8.0]
    assert units.of_arm("treated")["reward"].tolist() == [2.0]
    assert units.of_arm("treated")["rows"].tolist() == [1.0]


def test_a_day_without_rows_changes_nothing():
    units = Units.none(("control",), ("reward",)).add(np.array(["a"]), np.array([0]), {"reward": np.ones(1)})
    same = units.add(np.array([], np.str_), np.array([], np.int64), {"reward": np.zeros(0)})
    assert same.sums["reward"].tolist() == [1.0]


def test_names_of_units_may_be_of_any_length():
    units = Units.none(("control",), ("reward",))
    for name in ("u1234", "u1", "u12345678"):
        units = units.add(np.array([name]), np.array([0]), {"reward": np.ones(1)})
    assert units.unit.tolist() == ["u1", "u1234", "u12345678"]
