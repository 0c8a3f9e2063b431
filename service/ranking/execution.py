"""Execution: the threads that compute. Knows jobs and turns, nothing of what they compute.

A job is a generator: each `yield` is a place where it may be kept waiting, so that a request of 10,000
candidates does not hold up those of 50 behind it. Jobs take turns in the order of their coming, but for one
whose deadline has come: all that is left for it is to write its answer, so it goes first.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any, TypeVar

from service.contract.errors import OverloadedError

_MOST_ASIDE = 64
"""Pieces of short work that wait at most."""

_T = TypeVar("_T")
Steps = Generator[None, None, _T]


class _Job:
    """Steps, and who waits for their outcome.

    Attributes:
        busy_s: seconds on a thread so far.
        abandoned: whether nobody waits any more.
    """

    def __init__(self, steps: Steps[Any], deadline: float | None) -> None:
        self.steps = steps
        self.deadline = deadline
        self.loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[Any] = self.loop.create_future()
        self.busy_s = 0.0
        self.abandoned = False

    @property
    def overdue(self) -> bool:
        return self.deadline is not None and time.perf_counter() >= self.deadline

    def step(self) -> bool:
        """Take one step; whether there is another."""
        began = time.perf_counter()
        try:
            next(self.steps)
        except StopIteration as end:
            self.busy_s += time.perf_counter() - began
            self._settle(self.outcome.set_result, end.value)
        except BaseException as error:
            self._settle(self.outcome.set_exception, error)
        else:
            self.busy_s += time.perf_counter() - began
            return True
        return False

    def _settle(self, settle: Callable[[Any], None], outcome: Any) -> None:
        def settle_if_awaited() -> None:
            if not self.outcome.done():
                settle(outcome)

        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(settle_if_awaited)


class Execution:
    """Threads that take jobs from one queue, and one more for short work.

    Args:
        threads: jobs computed at the same time.
    """

    def __init__(self, threads: int) -> None:
        self._queue: deque[_Job] = deque()
        self._order = threading.Lock()
        # A token for each job, and in the end one for each thread: what a thread waits for, in C.
        self._tokens: SimpleQueue[None] = SimpleQueue()
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="aside")
        self._waiting_aside = 0
        self._workers = [
            threading.Thread(target=self._work, name=f"rank-{number}", daemon=True)
            for number in range(threads)
        ]
        for worker in self._workers:
            worker.start()

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._queue)

    async def run(self, steps: Steps[_T], deadline: float | None = None) -> tuple[_T, float]:
        """Run a job to its end: its result, and the seconds that it took on a thread.

        Args:
            steps: the job; what it returns is the result.
            deadline: of `time.perf_counter`: from then on the job goes before others.
        """
        job = _Job(steps, deadline)
        self._put(job)
        alarm = None
        if deadline is not None:
            alarm = job.loop.call_later(deadline - time.perf_counter(), self._hurry, job)
        try:
            return await job.outcome, job.busy_s
        finally:
            job.abandoned = True
            if alarm is not None:
                alarm.cancel()

    async def aside(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Short work that would hold up the event loop, and that jobs shall not hold up.

        Raises:
            OverloadedError: too much of it waits already.
        """
        if self._waiting_aside >= _MOST_ASIDE:
            raise OverloadedError(f"{self._waiting_aside} requests wait to be read; try again later", 1)
        self._waiting_aside += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._aside, work, *arguments)
        finally:
            self._waiting_aside -= 1

    def close(self) -> None:
        """End the threads once the queue is empty."""
        for _ in self._workers:
            self._tokens.put(None)
        for worker in self._workers:
            worker.join()
        self._aside.shutdown()

    def _put(self, job: _Job) -> None:
        with self._order:
            self._queue.append(job)
        self._tokens.put(None)

    def _hurry(self, job: _Job) -> None:
        with self._order:
            if job in self._queue:
                self._queue.remove(job)
                self._queue.appendleft(job)

    def _work(self) -> None:
        while True:
            self._tokens.get()
            with self._order:
                if not self._queue:
                    return
                job = self._queue.popleft()
            self._advance(job)

    def _advance(self, job: _Job) -> None:
        """Let a job go on until it ends, or until it is another's turn."""
        while not job.abandoned:
            if not job.step():
                return
            if self._queue and not (job.overdue or job.abandoned):
                self._put(job)
                return
        job.steps.close()
