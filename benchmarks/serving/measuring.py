"""Measuring by turns: one call after another, as many as a core takes, arrivals by chance. Judges nothing.

The service has one core, what asks it another; the bare network runs on the service's.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from benchmarks.load import Callers, Line, Reply, bodies_for
from benchmarks.serving.arrivals import ideal_queue, poisson
from benchmarks.serving.contenders import Served
from benchmarks.serving.material import BODIES, Material
from model.bundle.session import NetworkSession

__all__ = ["Bare", "Cores", "OpenLoop", "measure_calls", "measure_open_loop", "measure_saturation"]

WARM_CALLS = 3
"""At the start of each turn: caches hold what others left."""
CALLERS = 3
"""Of a service at its limit, which has one worker."""
SPIN_S = 0.002
"""Before an arrival is due: the load has its core to itself."""
LOAD = 0.7
"""Of its capacity, in the open loop."""

Advance = Callable[[], None]
Times = dict[int, list[float]]
"""Seconds of each call, by number of candidates."""


@dataclass(frozen=True)
class Cores:
    """Whose core is which; one core is both where there is no other."""

    service: int
    load: int

    @classmethod
    def of_machine(cls) -> Cores:
        """The first that this process may use for the service, the next for the load."""
        cores = sorted(os.sched_getaffinity(0))
        return cls(cores[0], cores[min(1, len(cores) - 1)])


class Bare:
    """A session's runs without any service, on the service's core.

    Args:
        name: for results.
        session: of one thread, which is the caller's.
        cores: whose is which.
    """

    def __init__(self, name: str, session: NetworkSession, cores: Cores) -> None:
        self.name = name
        self._session = session
        self._cores = cores

    @contextmanager
    def caller(self, material: Material, size: int) -> Iterator[Callable[[int], float]]:
        """Seconds of the run for a request of this number."""
        inputs = [material.inputs(size, number) for number in range(8)]

        def call(number: int) -> float:
            began = time.perf_counter()
            self._session.predict(inputs[number % len(inputs)])
            return time.perf_counter() - began

        os.sched_setaffinity(0, {self._cores.service})
        try:
            yield call
        finally:
            os.sched_setaffinity(0, {self._cores.load})


class _OverHttp:
    """A contender's calls, one after another over one connection."""

    def __init__(self, served: Served) -> None:
        self.name = served.name
        self._served = served

    @contextmanager
    def caller(self, material: Material, size: int) -> Iterator[Callable[[int], float]]:
        bodies = material.bodies(size)
        with self._served.turn(), Line(self._served.url) as line:

            def call(number: int) -> float:
                reply = line.post(bodies[number % BODIES])
                _demand_answers(self.name, [reply])
                return reply.seconds

            yield call


def measure_calls(
    served: Sequence[Served],
    bare: Sequence[Bare],
    material: Material,
    plan: dict[int, tuple[int, int]],
    advance: Advance,
    warm: int = WARM_CALLS,
) -> dict[str, Times]:
    """One caller, by name.

    Args:
        served: who answers over HTTP.
        bare: who runs the network alone.
        material: what is asked.
        plan: turns and calls a turn, by number of candidates.
        advance: called after each turn of all.
        warm: calls at the start of each turn that do not count.
    """
    subjects = [*bare, *(_OverHttp(each) for each in served)]
    times: dict[str, Times] = {subject.name: {} for subject in subjects}
    for size, (turns, calls) in plan.items():
        for turn in range(turns):
            first = turn % len(subjects)
            # Nobody always comes after the same neighbour.
            for subject in (*subjects[first:], *subjects[:first]):
                with subject.caller(material, size) as call:
                    for number in range(warm):
                        call(number)
                    times[subject.name].setdefault(size, []).extend(
                        call(turn * calls + number) for number in range(calls)
                    )
            advance()
    return times


def measure_saturation(
    served: Sequence[Served], material: Material, plan: dict[int, tuple[int, float]], advance: Advance
) -> dict[str, Times]:
    """Answers a second to a few callers who never pause, turn by turn, by name and number of candidates.

    Args:
        served: who answers.
        material: what is asked.
        plan: turns and seconds a turn, by number of candidates.
        advance: called after each turn of all.
    """
    rates: dict[str, Times] = {each.name: {} for each in served}
    for size, (turns, seconds) in plan.items():
        bodies = material.bodies(size)
        for _ in range(turns):
            for each in served:
                with each.turn():
                    replies = asyncio.run(_saturate(each.url, bodies, seconds))
                _demand_answers(each.name, replies)
                ends = sorted(reply.began + reply.seconds for reply in replies)[CALLERS - 1 :]
                rates[each.name].setdefault(size, []).append((len(ends) - 1) / (ends[-1] - ends[0]))
            advance()
    return rates


async def _saturate(url: str, bodies: Sequence[bytes], seconds: float) -> list[Reply]:
    callers = Callers(url)
    for number in range(WARM_CALLS):
        await callers.post(bodies[number])
    supply = bodies_for(seconds, lambda number: bodies[number % BODIES])
    replies = await callers.one_after_another(CALLERS, supply)
    await callers.close()
    return replies


@dataclass
class OpenLoop:
    """What came of arrivals by chance.

    Attributes:
        rate: requests a second.
        seconds: turn by turn, from when each was due to its answer.
        ideal: the same of a queue without losses.
        failed: requests without an answer.
    """

    rate: float
    seconds: list[list[float]] = field(default_factory=list)
    ideal: list[list[float]] = field(default_factory=list)
    failed: int = 0


def measure_open_loop(
    served: Sequence[Served],
    material: Material,
    size: int,
    turns: tuple[int, float],
    capacity: dict[str, float],
    alone: dict[str, Sequence[float]],
    advance: Advance,
) -> dict[str, OpenLoop]:
    """Arrivals by chance at 70 % of each one's capacity; the same for all but for their distances' scale.

    The ideal queue has one server and the same arrivals. It takes the times that calls took alone, drawn anew
    and scaled to the mean that the capacity says: its server is busy 70 % of the time, too.

    Args:
        served: who answers.
        material: what is asked.
        size: candidates.
        turns: how many, and seconds of each.
        capacity: answers a second at the limit, by name.
        alone: seconds of calls one after another, by name.
        advance: called after each turn of all.
    """
    bodies = material.bodies(size)
    found = {each.name: OpenLoop(LOAD * capacity[each.name]) for each in served}
    for turn in range(turns[0]):
        for each in served:
            loop = found[each.name]
            offsets = poisson(loop.rate, turns[1], seed=turn)
            with each.turn():
                replies = asyncio.run(_arrive(each.url, bodies, offsets.tolist()))
            answered = [reply.seconds for reply in replies if reply.status == 200]
            loop.seconds.append(answered)
            loop.failed += len(replies) - len(answered)
            drawn = np.random.default_rng(turn).choice(np.asarray(alone[each.name]), len(offsets))
            services = drawn / (np.mean(alone[each.name]) * capacity[each.name])
            loop.ideal.append(ideal_queue(offsets, services).tolist())
        advance()
    return found


async def _arrive(url: str, bodies: Sequence[bytes], offsets: Sequence[float]) -> list[Reply]:
    callers = Callers(url)
    for number in range(WARM_CALLS):
        await callers.post(bodies[number])
    replies = await callers.on_schedule(offsets, lambda number: bodies[number % BODIES], SPIN_S)
    await callers.close()
    return replies


def _demand_answers(name: str, replies: Sequence[Reply]) -> None:
    for reply in replies:
        if reply.status != 200:
            sys.exit(
                f"{name} answered {reply.status or 'nothing'}: {reply.body[:300].decode(errors='replace')}"
            )
