import numpy as np
import pytest

from benchmarks.serving.arrivals import ideal_queue, poisson


def test_requests_wait_for_the_one_server_in_the_order_of_their_arrival():
    # The first keeps it from 0 to 3, the second waits 2 and keeps it to 5, the third comes to an idle server.
    assert ideal_queue([0.0, 1.0, 6.0], [3.0, 2.0, 1.0]).tolist() == [3.0, 4.0, 1.0]


def test_two_servers_take_two_requests_at_a_time():
    # The third waits for the first to leave at 3; the fourth finds the second's place free since 2.
    assert ideal_queue([0.0, 1.0, 1.5, 4.0], [3.0, 1.0, 1.0, 1.0], servers=2).tolist() == [3.0, 1.0, 1.5, 1.0]


def test_arrivals_are_those_of_their_seed_and_come_at_the_rate_asked_for():
    arrivals = poisson(50.0, 400.0, seed=3)
    assert np.array_equal(arrivals, poisson(50.0, 400.0, seed=3))
    assert not np.array_equal(arrivals[:9], poisson(50.0, 400.0, seed=4)[:9])
    gaps = np.diff(arrivals)
    assert len(arrivals) == pytest.approx(20_000, rel=0.03)
    assert gaps.min() > 0.0
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)  # as chance has it: neither even nor in bursts
    assert arrivals[-1] < 400.0


def test_another_rate_scales_the_same_arrivals():
    slow, fast = poisson(10.0, 20.0, seed=1), poisson(20.0, 10.0, seed=1)
    assert np.allclose(slow, 2.0 * fast)
