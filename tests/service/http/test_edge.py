"""What every request gets: an id, a limit, and a plain 500 at worst."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import socket
import threading
from collections.abc import Iterator

import orjson
import pytest
import structlog

from service.contract.errors import OverloadedError
from service.http.connection import CALLER, Caller
from service.http.edge import Edge

BODY = {"user_id": "u1", "candidate_ids": ["v1"]}


@pytest.fixture(scope="module")
def small(serve):
    with serve(max_body_bytes=4096) as served:
        yield served


def in_pieces(total: int) -> Iterator[bytes]:
    for _ in range(total // 512):
        yield b" " * 512


@pytest.mark.parametrize("content", [b" " * 100_000, in_pieces(100_000)], ids=["announced", "streamed"])
def test_a_body_above_the_limit_is_413(small, content):
    answer = small.http.post("/v1/rank", content=content, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert "4096 bytes" in answer.json()["detail"]
    assert small.http.post("/v1/rank", json=BODY).status_code == 200


def test_a_body_at_the_limit_is_read(small):
    body = b'{"user_id": "u1", "candidate_ids": ["v1"]}'
    answer = small.http.post("/v1/rank", content=body + b" " * (4096 - len(body)))
    assert answer.status_code == 200


def test_the_default_limit_is_8_mib(served):
    headers = {"content-type": "application/json"}
    assert served.http.post("/v1/rank", content=b" " * (8 << 20), headers=headers).status_code == 422
    assert served.http.post("/v1/rank", content=b" " * ((8 << 20) + 1), headers=headers).status_code == 413


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "br", "gzip, identity"])
def test_an_encoded_body_is_415_and_says_so(served, encoding):
    body = gzip.compress(b'{"user_id": "u1", "candidate_ids": ["v1"]}')
    answer = served.http.post("/v1/rank", content=body, headers={"content-encoding": encoding})
    assert (answer.status_code, answer.headers["content-type"]) == (415, "application/problem+json")
    assert answer.json()["title"] == "The body is encoded"
    assert f"without `content-encoding` (found {encoding})" in answer.json()["detail"]
    assert answer.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("encoding", ["identity", ""])
def test_a_body_that_says_that_it_is_plain_is_read(served, encoding):
    assert served.http.post("/v1/rank", json=BODY, headers={"content-encoding": encoding}).status_code == 200


def test_a_plain_request_id_is_kept_and_another_is_replaced(served):
    kept = served.http.get("/livez", headers={"x-request-id": "trace-7"})
    replaced = served.http.get("/livez", headers={"x-request-id": "two words"})
    assert kept.headers["x-request-id"] == "trace-7"
    assert replaced.headers["x-request-id"] not in {"two words", ""}
    assert len({served.http.get("/livez").headers["x-request-id"] for _ in range(5)}) == 5


def test_what_nobody_expected_is_a_plain_500(serve, monkeypatch):
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a secret of the inside")

    with serve() as served:
        monkeypatch.setattr("service.ranking.fusing.top_k", fail)
        with structlog.testing.capture_logs() as logged:
            answer = served.http.post("/v1/rank", json=BODY)
        assert [entry["event"] for entry in logged] == ["request_failed"]
        assert (answer.status_code, answer.headers["content-type"]) == (500, "application/problem+json")
        assert "secret" not in answer.text
        assert "x-request-id" in answer.headers
        monkeypatch.undo()
        served.rank(candidate_ids=["v1"])


def test_a_damaged_row_costs_its_own_candidate_alone(serve, monkeypatch):
    """No score that is not a number ever ranks."""
    from service.inference.engine import Engine

    whole = Engine.predict

    def one_nan(self, inputs):
        found = whole(self, inputs)
        broken = found["shr"].copy()
        broken[1] = float("nan")
        return {**found, "shr": broken}

    with serve() as served:
        monkeypatch.setattr(Engine, "predict", one_nan)
        answer = served.rank(candidate_ids=["v1", "v2", "v3"])
    assert (answer["degraded"], answer["scored"]) == (["non_finite_predictions"], 2)
    assert answer["items"][2] == {
        "id": "v2",
        "rank": 3,
        "score": None,
        "status": "unscored",
        "predictions": None,
    }


def test_many_callers_at_once_each_get_their_own_answer(served):
    wrong = []

    def ask(place: int) -> None:
        for _ in range(20):
            answer = served.rank(request_id=f"r{place}", user_id=f"u{place}", candidate_ids=[f"v{place}"])
            if (answer["request_id"], answer["items"][0]["id"]) != (f"r{place}", f"v{place}"):
                wrong.append(answer)

    callers = [threading.Thread(target=ask, args=(place,)) for place in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert wrong == []


@pytest.mark.parametrize("server", ["ours", "another"])
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "in parts"])
def test_work_for_a_caller_who_left_is_stopped_whichever_server_tells(server, whole):
    reports, sent, at_work = [], [], asyncio.Event()

    async def app(scope, receive, send):
        while (await receive()).get("more_body"):
            pass
        at_work.set()
        await asyncio.sleep(600)

    async def main():
        left, caller = asyncio.Event(), Caller(is_through=whole)
        parts = [{"type": "http.request", "body": b"{}", "more_body": not whole}]
        parts += [] if whole else [{"type": "http.request", "body": b""}]

        async def receive():
            if parts:
                return parts.pop(0)
            await left.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        scope = {"type": "http", "method": "POST", "path": "/", "headers": []}
        if server == "ours":
            scope[CALLER] = caller
        edge = Edge(app, lambda *report: reports.append(report), 1000, 5.0, 10_000)
        work = asyncio.create_task(edge(scope, receive, send))
        await at_work.wait()
        left.set()
        if caller.on_leaving is not None:
            caller.on_leaving()
        await asyncio.wait_for(work, 60)
        return edge.bytes_inside, caller.on_leaving

    assert asyncio.run(main()) == (0, None)
    assert [report[:2] for report in reports] == [("other", 499)]
    assert sent == []


MIB = 1 << 20


def stalled(port: int, size: int) -> socket.socket:
    """A connection on which all but the last byte of a body has been sent."""
    head = b"POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
    caller = socket.create_connection(("127.0.0.1", port), timeout=60)
    caller.sendall(head % size + b" " * (size - 1))
    return caller


def status_of(caller: socket.socket) -> int:
    return int(caller.recv(65536).split()[1])


def test_bodies_that_stall_shut_nobody_out_and_the_one_that_stalls_for_the_longest_is_refused(serve):
    """Sixteen of the largest size fill what bodies may take; nothing is waited for, least of all for them."""
    body = orjson.dumps(BODY)
    with serve(max_body_bytes=MIB, read_timeout_s=600) as served, contextlib.ExitStack() as stack:
        port = served.http.base_url.port
        hogs = [stack.enter_context(stalled(port, MIB)) for _ in range(20)]
        for size in (len(body), 100_000, MIB):
            assert served.http.post("/v1/rank", content=body + b" " * (size - len(body))).status_code == 200
        assert [status_of(hog) for hog in hogs[:8]] == [503] * 8


async def _whole_body(scope, receive, send):
    while (await receive()).get("more_body"):
        pass


class Crowd:
    """Bodies that come in parts, as the edge sees them. To be used on an event loop."""

    def __init__(self, app, most: int) -> None:
        self.edge = Edge(self._tell, lambda *_: None, most, 600.0, most)
        self.app, self.outcomes = app, {}

    async def _tell(self, scope, receive, send):
        try:
            await self.app(scope, receive, send)
            self.outcomes[scope["path"]] = "whole"
        except OverloadedError:
            self.outcomes[scope["path"]] = "refused"

    async def begin(self, name: str, size: int, more: bool = True) -> None:
        parts = [{"type": "http.request", "body": b" " * size, "more_body": more}]

        async def receive():
            if not parts:
                await asyncio.sleep(600)
            return parts.pop()

        scope = {"type": "http", "method": "POST", "path": name, "headers": []}
        self.tasks = [*getattr(self, "tasks", []), asyncio.create_task(self.edge(scope, receive, None))]
        for _ in range(5):
            await asyncio.sleep(0)


def test_small_bodies_have_room_of_their_own():
    """Though large ones are at work, which nobody may end."""

    async def at_work(scope, receive, send):
        await _whole_body(scope, receive, send)
        await asyncio.sleep(600 if scope["path"].startswith("work") else 0)

    async def main():
        crowd = Crowd(at_work, 4 * MIB)
        for place in range(3):
            await crowd.begin(f"work{place}", MIB, more=False)
        await crowd.begin("large", MIB // 2, more=False)
        await crowd.begin("small", 1000, more=False)
        for task in crowd.tasks:
            task.cancel()
        return crowd.outcomes

    assert asyncio.run(main()) == {"large": "refused", "small": "whole"}


def test_large_bodies_give_way_before_small_ones_and_the_longest_under_way_first():
    async def main():
        crowd, order = Crowd(_whole_body, 4 * MIB), []
        await crowd.begin("small", 1000)
        for place in range(6):
            await crowd.begin(f"large{place}", MIB)
            order.append(list(crowd.outcomes))
        inside = crowd.edge.bytes_inside
        for task in crowd.tasks:
            task.cancel()
        return order, inside

    order, inside = asyncio.run(main())
    assert order == [
        [],
        [],
        ["large0"],
        ["large0", "large1"],
        ["large0", "large1", "large2"],
        [f"large{n}" for n in range(4)],
    ]
    assert inside == 2 * MIB + 1000


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics", "/v1/fusion", "/openapi.json", "/docs"])
def test_head_is_answered_as_get_without_a_body(served, path):
    got, headed = served.http.get(path), served.http.head(path)
    assert (headed.status_code, headed.content) == (got.status_code, b"") == (200, b"")
    assert headed.headers["content-type"] == got.headers["content-type"]
    assert int(headed.headers["content-length"]) > 0
    assert served.http.head("/no/such/path").status_code == 404
    assert served.http.get("/livez").json() == {"status": "alive"}
