"""Admission: a request that would wait too long is refused at once, and an idle service refuses nobody."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from service.contract.errors import OverloadedError
from service.ranking.admission import Admission, Cost

ROW_S, REQUEST_S = 40e-6, 2e-3


@pytest.fixture
def shed():
    return []


@pytest.fixture
def admission(shed):
    """Two threads, at most 4 requests waiting, at most a second; a request of 500 rows costs 23 ms."""
    admission = Admission(threads=2, max_queue=4, max_wait_s=1.0, chunk=500, on_shed=shed.append)
    admission.cost.learn(1000, 1050 * ROW_S, REQUEST_S)
    return admission


def inside(stack: ExitStack, admission: Admission, requests: int, rows: int = 500):
    return [stack.enter_context(admission.admit(rows, None)) for _ in range(requests)]


def test_cost_follows_what_requests_took():
    cost = Cost(500)
    assert (cost.rows_s(500), cost.request_s) == (0.0, 0.0)
    for _ in range(100):
        cost.learn(500, 0.01, 0.002)
    assert (cost.rows_s(500), cost.rows_s(1000), cost.request_s) == pytest.approx((0.01, 0.02, 0.002))
    for _ in range(100):
        cost.learn(500, 0.02, 0.004)
    assert (cost.rows_s(500), cost.request_s) == pytest.approx((0.02, 0.004), rel=0.01)


def test_a_single_stall_says_little_and_a_lasting_one_is_believed():
    cost = Cost(500)
    for _ in range(100):
        cost.learn(500, 0.01, 0.002)
    cost.learn(500, 1.0, 1.0)
    assert cost.rows_s(500) < 0.012
    assert cost.request_s < 0.0025
    for _ in range(100):
        cost.learn(500, 0.1, 0.02)
    assert cost.rows_s(500) == pytest.approx(0.1, rel=0.05)


def test_small_requests_say_what_a_call_costs_not_what_a_row_does():
    cost = Cost(500)
    for _ in range(100):
        cost.learn(3, 0.0005, 0.002)
    assert cost.rows_s(500) < 0.01


def test_an_idle_service_admits_whatever_the_hurry(admission):
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(admission.admit(10_000, 0.0))


def test_the_wait_is_what_the_requests_inside_have_left_to_do(admission):
    with ExitStack() as stack:
        first = inside(stack, admission, 1)[0]
        assert admission.wait_s == 0.0  # a thread is idle
        third = inside(stack, admission, 1)[0]
        assert admission.wait_s == pytest.approx(2 * 0.023 / 2)
        inside(stack, admission, 1)
        assert admission.wait_s == pytest.approx(3 * 0.023 / 2)
        first.scored(500, 0.01)
        third.scored(250, 0.005)
        assert admission.wait_s == pytest.approx(((525 + 275) * ROW_S + 3 * REQUEST_S) / 2)
    assert (admission.inside, admission.wait_s) == (0, 0.0)


def test_a_ticket_adds_up_what_its_chunks_took(admission):
    with admission.admit(800, None) as ticket:
        ticket.scored(500, 0.25)
        ticket.scored(200, 0.125)
        assert (ticket.rows_left, ticket.rows_done, ticket.network_s) == (100, 700, 0.375)


@pytest.mark.parametrize(
    ("left_ms", "admitted"), [(-1, False), (30, False), (71, False), (73, True), (None, True)]
)
def test_a_request_is_refused_that_would_not_have_its_first_chunk_in_time(admission, shed, left_ms, admitted):
    """Three inside make a wait of 34.5 ms, the first chunk takes 23 ms: 57.5 of 80 % of its time."""
    with ExitStack() as stack:
        inside(stack, admission, 3)
        left_s = left_ms and left_ms / 1000
        if admitted:
            stack.enter_context(admission.admit(5000, left_s))
        else:
            with pytest.raises(OverloadedError, match="the wait would be about 34 ms") as refused:
                stack.enter_context(admission.admit(5000, left_s))
            assert refused.value.retry_after_s == 1
        assert shed == ([] if admitted else ["wait_too_long"])


def test_a_short_wait_is_no_overload_whatever_the_hurry(admission):
    with ExitStack() as stack:
        inside(stack, admission, 4, rows=50)
        assert 0.009 < admission.wait_s < 0.02
        stack.enter_context(admission.admit(500, 0.001))


def test_a_wait_beyond_the_longest_is_refused_without_a_timeout_too(admission, shed):
    with ExitStack() as stack:
        inside(stack, admission, 3, rows=20_000)
        with pytest.raises(OverloadedError) as refused:
            stack.enter_context(admission.admit(1, None))
        assert refused.value.retry_after_s == 2
    assert shed == ["wait_too_long"]


def test_the_queue_is_bounded_whatever_the_estimate(shed):
    admission = Admission(threads=2, max_queue=4, max_wait_s=1.0, chunk=500, on_shed=shed.append)
    with ExitStack() as stack:
        inside(stack, admission, 6)
        with pytest.raises(OverloadedError, match="6 requests are being answered"):
            stack.enter_context(admission.admit(1, None))
    assert shed == ["queue_full"]
    with admission.admit(1, None):
        pass


def test_a_request_that_failed_is_no_longer_inside(admission):
    with pytest.raises(ZeroDivisionError), admission.admit(500, None):
        raise ZeroDivisionError
    assert admission.inside == 0
