"""A small world, and a service of its own mind that answers without HTTP."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import httpx
import orjson
import pytest

from training.simulation import World, WorldConfig
from training.viewers import callers
from training.viewers.visits import Audience


@pytest.fixture(scope="session")
def world() -> World:
    return World.create(WorldConfig(users=60, items=80, slots=5, pool=20))


@pytest.fixture
def audience(world: World) -> Audience:
    return Audience(world, seed=3)


class FakeService:
    """Ranks by a rule, after a time that nobody can foresee, and keeps the events that it is sent.

    Attributes:
        asked: bodies of rankings.
        events: as they were sent.
        fails: says of a path and the number of its request what to answer in place of the truth, or raises.
    """

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self.order: Callable[[str], Any] = lambda video: -int(video[1:])
        self.fails: Callable[[str, int], httpx.Response | None] = lambda path, number: None
        self._seen: dict[str, int] = {}

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        number = self._seen[path] = self._seen.get(path, -1) + 1
        await asyncio.sleep(random.random() / 1000)  # in another order each time
        if (failure := self.fails(path, number)) is not None:
            return failure
        if path == "/livez":
            return httpx.Response(200)
        body = orjson.loads(request.content)
        if path == "/v1/feedback":
            self.batches.append(len(body["events"]))
            self.events += body["events"]
            return httpx.Response(202, json={"accepted": len(body["events"]), "rejected": []})
        self.asked.append(body)
        best = sorted(body["candidate_ids"], key=self.order)[: body["top_k"]]
        items = [{"id": video, "rank": rank} for rank, video in enumerate(best, 1)]
        return httpx.Response(200, json={"exposure_id": f"x{body['request_id']}", "items": items})


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> FakeService:
    fake = FakeService()

    def connected(url: str, most: int) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(fake), base_url=url)

    monkeypatch.setattr(callers, "connections", connected)
    return fake
