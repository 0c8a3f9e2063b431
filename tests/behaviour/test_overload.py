"""Under more load than can be served, requests are refused at once; when it is over, everyone is served."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from collections import Counter

import httpx
import pytest

from service.inference.engine import Engine

IDS = [f"v{row}" for row in range(500)]
BODY = {"user_id": "u1", "candidate_ids": IDS, "top_k": 3}


@pytest.fixture
def slow_network(monkeypatch):
    """A chunk of 500 takes 20 ms in which the interpreter is free: two threads serve 100 a second."""
    whole = Engine.predict
    calls = Counter()

    def slow(session, inputs):
        calls["calls"] += 1
        time.sleep(calls.get("ms", 20) * 1e-3 * (0.05 + len(inputs.row_to_user) * 0.95 / 500))
        return whole(session, inputs)

    monkeypatch.setattr(Engine, "predict", slow)
    return calls


def flood(served, requests: int, every_s: float, **body) -> list[tuple[int, float, dict]]:
    """Open loop: status, seconds and answer of each request."""

    async def ask(client: httpx.AsyncClient, number: int):
        await asyncio.sleep(number * every_s)
        began = time.perf_counter()
        answer = await client.post("/v1/rank", json={**BODY, **body})
        return answer.status_code, time.perf_counter() - began, answer

    async def main():
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=served.http.base_url, limits=limits, timeout=30) as client:
            return await asyncio.gather(*(ask(client, number) for number in range(requests)))

    return asyncio.run(main())


def test_three_times_the_capacity_is_shed_at_once_and_the_rest_comes_in_time(serve, slow_network):
    slow_network["ms"] = 80  # the callers live in this process, too, and need their share of it
    with serve(threads=2) as served:
        for _ in range(10):
            served.rank(**BODY)
        answers = flood(served, 150, 1 / 75, timeout_ms=600)
        statuses = Counter(status for status, _, _ in answers)
        assert set(statuses) == {200, 503}
        whole = [
            seconds for status, seconds, answer in answers if status == 200 and not answer.json()["degraded"]
        ]
        refused = [answer for status, _, answer in answers if status == 503]
        refusals = [seconds for status, seconds, _ in answers if status == 503]
        assert whole
        assert sorted(refusals)[len(refusals) // 2] < sorted(whole)[len(whole) // 2]
        assert {answer.headers["content-type"] for answer in refused} == {"application/problem+json"}
        assert {answer.headers["retry-after"] for answer in refused} == {"1"}
        # At once everything is as before.
        assert served.rank(**BODY, timeout_ms=600)["degraded"] == []
        metrics = served.http.get("/metrics").text
        assert f'fulcrum_rank_shed_total{{reason="wait_too_long"}} {float(statuses[503])}' in metrics


def test_the_queue_is_bounded_without_timeouts_too(serve, slow_network):
    with serve(threads=2, max_queue=5, max_queue_wait_ms=60_000) as served:
        statuses = Counter(status for status, _, _ in flood(served, 40, 0.0))
        assert set(statuses) == {200, 503}
        assert 7 <= statuses[200] <= 20


def test_a_large_request_does_not_hold_up_small_ones(serve, slow_network):
    with serve(threads=2) as served:
        large = threading.Thread(
            target=lambda: [served.rank(candidate_ids=[f"x{row}" for row in range(10_000)]) for _ in range(2)]
        )
        other = threading.Thread(
            target=lambda: [served.rank(candidate_ids=[f"y{row}" for row in range(10_000)]) for _ in range(2)]
        )
        large.start()
        other.start()
        time.sleep(0.15)
        began = time.perf_counter()
        served.rank(candidate_ids=IDS[:50])
        took = time.perf_counter() - began
        busy = large.is_alive() or other.is_alive()
        large.join()
        other.join()
        assert busy
        assert took < 0.2  # the large ones take half a second each


def test_the_work_for_a_caller_who_has_gone_ends(serve, slow_network):
    ids = ", ".join(f'"x{row}"' for row in range(10_000))
    body = f'{{"user_id": "u1", "candidate_ids": [{ids}]}}'.encode()
    head = b"POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)
    with serve(threads=2) as served:
        before = slow_network["calls"]
        with contextlib.closing(socket.create_connection(("127.0.0.1", served.http.base_url.port))) as caller:
            caller.sendall(head + body)
            time.sleep(0.2)
        time.sleep(0.15)
        served.rank(candidate_ids=IDS)
        assert slow_network["calls"] - before < 18  # of the 20 chunks and one
        assert 'status="499"' in served.http.get("/metrics").text


def test_a_deadline_while_waiting_gets_an_answer_within_a_chunk_of_it(serve, slow_network):
    """Estimates know nothing yet, so that everyone is let in."""
    with serve(threads=2) as served:
        answers = flood(served, 30, 0.0, timeout_ms=60)
        assert {status for status, _, _ in answers} <= {200, 503}
        late = [answer.json()["took_ms"] for status, _, answer in answers if status == 200]
        assert max(late) < 60 + 2 * 20 + 60
        for status, _, answer in answers:
            if status == 200:
                assert len(answer.json()["items"]) == 3
