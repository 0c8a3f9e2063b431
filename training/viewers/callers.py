"""Callers: visits as requests to a service over HTTP, each answer watched, and what came of it sent back.

One process, one event loop. With a rate, requests are sent when they are due, whatever became of those
before (an open loop), as far as there are callers; without one, each caller asks again as soon as it was
answered. Knows the contract of `/v1/rank`; how feedback is sent is in `sender`.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import orjson

from model.client import connections, refusal, shown_address
from model.errors import FulcrumError
from model.events import FeedbackKind
from training.progress import Advanced, Observer, silent
from training.simulation.behaviour import TABS
from training.viewers.feedback import CHANCES, Mishaps, events_of
from training.viewers.sender import Sender, Sent
from training.viewers.tally import Tally
from training.viewers.visits import Audience, Visit

PATIENCE_S = 30.0
"""Seconds without an answer after which callers go."""
_FEW = 5
"""Failures in a row that they put up with all the same."""
_PAUSE_S = 0.1
"""Seconds that a caller waits after a failure."""
_REPORT_EVERY = 50


@dataclass(frozen=True)
class Traffic:
    """What is asked for, and how.

    Attributes:
        url: of the service.
        requests: in all.
        callers: requests at a time, at most.
        rate: requests a second; None for as many as are answered.
        scene: of the fusion config; None for the default.
        context: feature of the request by what it holds: `hour`, `tab`.
        kinds: of feedback to send; empty for none.
        mishaps: what befalls feedback.
    """

    url: str
    requests: int
    callers: int = 8
    rate: float | None = None
    scene: str | None = None
    context: Mapping[str, str] = field(default_factory=lambda: {"hour": "hour", "tab": "tab"})
    kinds: Sequence[FeedbackKind] = ()
    mishaps: Mishaps = field(default_factory=Mishaps)


@dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        requests: sent.
        errors: of these, without a ranking.
        first_error: of them.
        seconds: from the first request to the last answer and the last event.
        latency_ms: of each answered request, from when it was due, float32.
        tally: rewards of the answered requests.
        feedback: what became of the events.
    """

    requests: int
    errors: int
    first_error: str | None
    seconds: float
    latency_ms: np.ndarray
    tally: Tally
    feedback: Sent

    def report(self) -> dict[str, Any]:
        """JSON by keys; NaN where nothing was answered."""
        expected, expected_interval = self.tally.mean("expected")
        realised, realised_interval = self.tally.mean("realised")
        p50, p99 = np.percentile(self.latency_ms, [50, 99]) if len(self.latency_ms) else (np.nan, np.nan)
        return {
            "requests": self.requests,
            "errors": self.errors,
            "first_error": self.first_error,
            "users": int((self.tally.requests > 0).sum()),
            "true_reward": expected,
            "true_reward_interval": expected_interval,
            "realised_reward": realised,
            "realised_reward_interval": realised_interval,
            "seconds": self.seconds,
            "requests_per_second": self.requests / self.seconds,
            "latency_ms": {"p50": float(p50), "p99": float(p99)},
            "feedback": vars(self.feedback),
        }


def call(audience: Audience, traffic: Traffic, observer: Observer = silent) -> Outcome:
    """Let an audience ask a service for rankings.

    Args:
        audience: who asks.
        traffic: how often, and what they send back.
        observer: called with progress.

    Raises:
        FulcrumError: the service is away, takes no feedback, or answers nothing for `PATIENCE_S`.
    """
    try:
        return asyncio.run(_Callers(audience, traffic, observer).run())
    except BaseExceptionGroup as group:
        ours = group.subgroup(FulcrumError)
        if ours is None:
            raise
        raise ours.exceptions[0] from None


class _Callers:
    def __init__(self, audience: Audience, traffic: Traffic, observer: Observer) -> None:
        self._audience, self._traffic, self._observer = audience, traffic, observer
        self._ids = audience.world.video_ids
        self._place = {name: place for place, name in enumerate(self._ids)}
        self._tally = Tally(audience.world.config.users)
        self._latency_ms = array("f")
        self._errors = self._in_a_row = 0
        self._first_error: str | None = None
        self._began = self._answered = 0.0

    async def run(self) -> Outcome:
        traffic = self._traffic
        async with connections(traffic.url, traffic.callers + 1) as client:
            await self._arrive(client)
            self._began = self._answered = time.perf_counter()
            visits = self._audience.visits(traffic.requests)
            sender = Sender(client, traffic.mishaps, waits=traffic.rate is None)
            async with asyncio.TaskGroup() as group:
                group.create_task(sender.run())
                callers = [
                    group.create_task(self._caller(client, visits, sender)) for _ in range(traffic.callers)
                ]
                await asyncio.wait(callers)
                await sender.finish()
        seconds = time.perf_counter() - self._began
        latency_ms = np.array(self._latency_ms, np.float32)
        requests = len(latency_ms) + self._errors
        return Outcome(
            requests, self._errors, self._first_error, seconds, latency_ms, self._tally, sender.sent
        )

    async def _arrive(self, client: httpx.AsyncClient) -> None:
        """See that somebody is there, before anybody waits."""
        try:
            await client.get("/livez")
        except httpx.HTTPError as error:
            raise FulcrumError(
                f"{shown_address(client.base_url)}: no answer ({error}); is `fulcrum serve` running there?"
            ) from error

    async def _caller(self, client: httpx.AsyncClient, visits: Iterator[Visit], sender: Sender) -> None:
        for visit in visits:  # all callers take from the same
            due = time.perf_counter()
            if self._traffic.rate is not None:
                due = self._began + visit.number / self._traffic.rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
            problem = await self._one(client, visit, due, sender)
            if problem is not None:
                self._errors, self._in_a_row = self._errors + 1, self._in_a_row + 1
                self._first_error = self._first_error or problem
                silent_s = time.perf_counter() - self._answered
                if silent_s > PATIENCE_S and self._in_a_row >= _FEW:
                    raise FulcrumError(
                        f"{shown_address(client.base_url)}: no ranking for {silent_s:.0f} s, after "
                        f"{len(self._latency_ms):,} of {self._traffic.requests:,}: {problem}"
                    )
                await asyncio.sleep(_PAUSE_S)
            done = len(self._latency_ms) + self._errors
            if done % _REPORT_EVERY == 0 or done == self._traffic.requests:
                self._observer(Advanced("asking", done, self._traffic.requests, "requests"))

    async def _one(self, client: httpx.AsyncClient, visit: Visit, due: float, sender: Sender) -> str | None:
        """Ask, look and send back; or what went wrong."""
        candidates = [self._ids[video] for video in visit.candidates.tolist()]
        slots = self._audience.world.config.slots
        holds = {"hour": visit.hour, "tab": TABS[visit.tab]}
        body: dict[str, Any] = {
            "request_id": f"{self._audience.seed}-{visit.number}",
            "user_id": self._audience.world.user_ids[visit.user],
            "candidate_ids": candidates,
            "top_k": slots,
            "fields": [],
            "context": {name: holds[what] for name, what in self._traffic.context.items()},
        }
        if self._traffic.scene is not None:
            body["scene"] = self._traffic.scene
        try:
            reply = await client.post("/v1/rank", content=orjson.dumps(body))
        except httpx.HTTPError as error:
            return f"{type(error).__name__} {error}".strip()
        if reply.status_code != httpx.codes.OK:
            return refusal(reply)
        now = time.perf_counter()
        try:
            answer = orjson.loads(reply.content)
            exposure, items = str(answer["exposure_id"]), [item["id"] for item in answer["items"]]
            if not set(items) <= set(candidates) or len(items) > min(slots, len(candidates)):
                return f"an answer of {len(items)} items, some of which were not asked for"
        except (orjson.JSONDecodeError, KeyError, TypeError) as error:
            return f"an answer that is no ranking ({type(error).__name__} {error})"
        self._answered, self._in_a_row = now, 0
        self._latency_ms.append((now - due) * 1000.0)
        shown = np.array([self._place[item] for item in items], np.int64)
        watched = self._audience.watch(visit, shown)
        self._tally.add(visit.user, watched.expected, watched.realised)
        kinds = self._traffic.kinds
        if kinds:
            chances = self._audience.chances(visit, shown, len(kinds) * CHANCES)
            time_ms, mishaps = _now_ms(), self._traffic.mishaps
            for event, late in events_of(watched.did, kinds, exposure, items, time_ms, mishaps, chances):
                await sender.take(event, late)
        return None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
