import numpy as np
import pytest

from training.viewers.tally import Tally


def filled(rows: list[tuple[int, float, float]], users: int = 40) -> Tally:
    tally = Tally(users)
    for row in rows:
        tally.add(*row)
    return tally


@pytest.fixture
def rows() -> list[tuple[int, float, float]]:
    random = np.random.default_rng(4)
    level = random.normal(5.0, 1.0, 40)
    users = random.integers(0, 40, 2_000)
    return [(int(u), float(level[u]), float(level[u] + random.normal())) for u in users]


def test_means_are_per_request_and_their_intervals_resample_users(rows) -> None:
    mean, (low, high) = filled(rows).mean("expected")
    assert mean == pytest.approx(np.mean([expected for _, expected, _ in rows]))
    # Users differ, and their requests do not: 2,000 requests are known no better than 40 users.
    assert 0.2 < (high - low) / 2 < 0.5
    assert low < mean < high


def test_sums_do_not_depend_on_the_order_of_requests(rows) -> None:
    assert filled(rows).mean("realised") == filled(rows[::-1]).mean("realised")


def test_a_gain_is_paired_by_user(rows) -> None:
    better = [(user, expected + 0.1, realised) for user, expected, realised in rows]
    gain, (low, high) = filled(better).gain(filled(rows))
    assert gain == pytest.approx(0.1)
    assert (low, high) == pytest.approx((0.1, 0.1))


def test_nothing_counted_has_no_mean() -> None:
    mean, interval = Tally(3).mean("expected")
    assert np.isnan([mean, *interval]).all()
