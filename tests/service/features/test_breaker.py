"""The breaker: after failures in a row, one trial every so often."""

from __future__ import annotations

from service.features.breaker import Breaker


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def broken(clock: Clock) -> Breaker[str]:
    breaker = Breaker[str](clock)
    for _ in range(3):
        assert breaker.refuses() is None
        breaker.failed("timeout")
    return breaker


def test_single_failures_change_nothing():
    breaker = Breaker[str](Clock())
    for _ in range(10):
        breaker.failed("timeout")
        breaker.failed("timeout")
        breaker.succeeded()
        assert breaker.refuses() is None


def test_failures_in_a_row_keep_callers_away_and_say_why():
    breaker = broken(Clock())
    assert breaker.open
    assert [breaker.refuses() for _ in range(5)] == ["timeout"] * 5


def test_one_caller_at_a_time_may_try_again():
    clock = Clock()
    breaker = broken(clock)
    clock.now = 0.31
    assert [breaker.refuses() for _ in range(3)] == [None, "timeout", "timeout"]
    breaker.failed("refused")
    assert breaker.refuses() == "refused"
    clock.now = 0.62
    assert breaker.refuses() is None


def test_a_trial_that_succeeds_lets_everyone_in():
    clock = Clock()
    breaker = broken(clock)
    clock.now = 0.31
    breaker.refuses()
    breaker.succeeded()
    assert not breaker.open
    assert [breaker.refuses() for _ in range(3)] == [None] * 3
