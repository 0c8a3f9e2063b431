"""Execution: jobs take turns, one whose deadline has come goes first, and one that nobody waits for ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from service.contract.errors import OverloadedError
from service.ranking.execution import Execution


@pytest.fixture
def execution() -> Iterator[Execution]:
    execution = Execution(1)
    yield execution
    execution.close()


class Script:
    """Jobs that write down each of their steps, and wait for nothing before the gate is open."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.steps: list[str] = []
        self.gate = threading.Event()

    def job(self, name: str, steps: int = 1):
        self.begun.append(name)
        for number in range(steps):
            self.gate.wait()
            self.steps.append(name)
            if number < steps - 1:
                yield
        return name


async def until(condition: Callable[[], bool]) -> None:
    """Let everything else go on until the condition holds."""
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def test_a_job_gives_its_result_and_the_time_it_took(execution):
    def job():
        time.sleep(0.02)
        yield
        time.sleep(0.02)
        return "done"

    began = time.perf_counter()
    result, busy_s = asyncio.run(execution.run(job()))
    elapsed_s = time.perf_counter() - began
    assert result == "done"
    assert 0.04 <= busy_s < elapsed_s


def test_a_jobs_failure_is_its_callers(execution):
    def job():
        yield
        raise ZeroDivisionError("inside")

    async def main():
        with pytest.raises(ZeroDivisionError, match="inside"):
            await execution.run(job())
        script = Script()
        script.gate.set()
        return await execution.run(script.job("next"))

    assert asyncio.run(main())[0] == "next"


def test_jobs_take_turns_step_by_step(execution):
    script = Script()

    async def main():
        running = [asyncio.create_task(execution.run(script.job("large", 4)))]
        await until(lambda: script.begun == ["large"])
        running += [asyncio.create_task(execution.run(script.job(name))) for name in ("s1", "s2")]
        await until(lambda: execution.waiting == 2)
        script.gate.set()
        await asyncio.gather(*running)

    asyncio.run(main())
    assert script.steps == ["large", "s1", "s2", "large", "large", "large"]


def test_a_job_whose_deadline_has_come_goes_first(execution):
    script = Script()

    async def main():
        names = ("running", "second", "third")
        running = [asyncio.create_task(execution.run(script.job(name))) for name in names]
        await until(lambda: execution.waiting == 2)
        running.append(asyncio.create_task(execution.run(script.job("hurried"), time.perf_counter() + 0.01)))
        await until(lambda: execution.waiting == 3)
        await asyncio.sleep(0.05)  # longer than its deadline's alarm, which the same loop runs first
        script.gate.set()
        await asyncio.gather(*running)

    asyncio.run(main())
    assert script.steps == ["running", "hurried", "second", "third"]


def test_a_job_that_is_overdue_keeps_its_thread(execution):
    script = Script()

    async def main():
        late = asyncio.create_task(execution.run(script.job("late", 3), time.perf_counter()))
        await until(lambda: script.begun == ["late"])
        other = asyncio.create_task(execution.run(script.job("other")))
        await until(lambda: execution.waiting == 1)
        script.gate.set()
        await asyncio.gather(late, other)

    asyncio.run(main())
    assert script.steps == ["late", "late", "late", "other"]


def test_a_job_that_nobody_waits_for_ends_at_its_next_step(execution):
    script = Script()

    async def main():
        running = asyncio.create_task(execution.run(script.job("left", 5)))
        queued = asyncio.create_task(execution.run(script.job("never begun")))
        await until(lambda: script.begun == ["left"] and execution.waiting == 1)
        running.cancel()
        queued.cancel()
        await asyncio.gather(running, queued, return_exceptions=True)
        script.gate.set()
        await execution.run(script.job("next"))

    asyncio.run(main())
    assert script.steps == ["left", "next"]
    assert execution.waiting == 0


def test_short_work_does_not_wait_for_jobs(execution):
    script = Script()

    async def main():
        blocked = asyncio.create_task(execution.run(script.job("blocked")))
        await until(lambda: script.begun == ["blocked"])
        assert await asyncio.wait_for(execution.aside(lambda: "aside"), 60) == "aside"
        script.gate.set()
        await blocked

    asyncio.run(main())


def test_short_work_is_bounded_and_takes_one_thread(execution):
    gate, threads = threading.Event(), set()

    def work():
        threads.add(threading.current_thread().name)
        return gate.wait()

    async def main():
        for _ in range(2):
            gate.clear()
            waiting = [asyncio.create_task(execution.aside(work)) for _ in range(64)]
            await asyncio.sleep(0)  # each begins, in this order
            with pytest.raises(OverloadedError, match="64 requests wait to be read") as refused:
                await execution.aside(work)
            assert refused.value.retry_after_s == 1
            gate.set()
            assert await asyncio.gather(*waiting) == [True] * 64

    asyncio.run(main())
    assert threads == {"aside_0"}


def test_threads_have_names_and_hold_up_no_exit(execution):
    def job():
        yield
        return threading.current_thread()

    worker, _ = asyncio.run(execution.run(job()))
    assert (worker.name, worker.daemon) == ("rank-0", True)


def test_closing_lets_queued_jobs_end():
    execution, script = Execution(1), Script()

    async def main():
        running = [asyncio.create_task(execution.run(script.job(str(number)))) for number in range(5)]
        await until(lambda: execution.waiting == 4)
        closing = asyncio.create_task(asyncio.to_thread(execution.close))
        await asyncio.sleep(0.05)
        script.gate.set()
        await asyncio.gather(closing, *running)

    asyncio.run(main())
    assert script.steps == ["0", "1", "2", "3", "4"]
