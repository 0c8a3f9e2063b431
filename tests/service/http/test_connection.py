"""Slow clients: a head or a body that does not come is cut, and nobody else waits for it."""

from __future__ import annotations

import contextlib
import json
import socket
import time

import pytest

BODY = b'{"user_id": "u1", "candidate_ids": ["v1"]}'
HEAD = b"POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
REQUEST = HEAD % len(BODY) + BODY


@pytest.fixture(scope="module")
def impatient(serve):
    with serve(read_timeout_s=0.3) as served:
        yield served


@contextlib.contextmanager
def connected(served):
    with socket.create_connection(("127.0.0.1", served.http.base_url.port), timeout=60) as caller:
        yield caller


def read_to_the_end(caller: socket.socket) -> bytes:
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while data := caller.recv(65536):
            answer += data
    return answer


def problem_in(answer: bytes) -> dict:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    return json.loads(body)


def drip(caller: socket.socket, data: bytes) -> bool:
    """A byte every 20 ms, as long as someone listens; whether that ended before the bytes did."""
    try:
        for place in range(len(data)):
            caller.sendall(data[place : place + 1])
            time.sleep(0.02)
    except OSError:
        return True
    return False


def test_a_head_that_drips_is_cut(impatient):
    with connected(impatient) as caller:
        assert drip(caller, REQUEST[:40] + b"x" * 3000)
        assert problem_in(read_to_the_end(caller))["status"] == 408


def test_a_head_that_stops_is_cut(impatient):
    with connected(impatient) as caller:
        caller.sendall(REQUEST[:40])
        assert "did not come within 0.3 s" in problem_in(read_to_the_end(caller))["detail"]


def test_a_connection_that_says_nothing_is_closed_in_silence(impatient):
    with connected(impatient) as caller:
        assert read_to_the_end(caller) == b""


def test_a_body_that_stops_is_cut(impatient):
    with connected(impatient) as caller:
        caller.sendall(REQUEST[:-5])
        problem = problem_in(read_to_the_end(caller))
        assert (problem["status"], problem["title"]) == (408, "The body came too slowly")


def test_a_body_that_drips_is_cut(impatient):
    with connected(impatient) as caller:
        caller.sendall(HEAD % 4000)
        assert drip(caller, b" " * 3000)
        assert problem_in(read_to_the_end(caller))["status"] == 408


def test_a_head_without_end_is_cut_by_its_size(impatient):
    with connected(impatient) as caller:
        with contextlib.suppress(OSError):
            caller.sendall(b"GET /livez HTTP/1.1\r\n" + b"x-more: and more\r\n" * 20_000)
        assert problem_in(read_to_the_end(caller))["status"] == 431


@pytest.fixture(scope="module")
def refusing(serve):
    """Bodies of more than 100,000 bytes are refused by their announced length."""
    with serve(read_timeout_s=1.0, max_body_bytes=100_000) as served:
        yield served


def answer_of(caller: socket.socket) -> bytes:
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += caller.recv(65536)
    return answer


def test_the_rest_of_a_refused_body_is_no_head_and_the_connection_serves_on(refusing):
    with connected(refusing) as caller:
        caller.sendall(HEAD % 300_000)
        assert answer_of(caller).startswith(b"HTTP/1.1 413")
        caller.sendall(b" " * 300_000)
        time.sleep(1.3)  # the body is over: nothing is waited for
        caller.sendall(REQUEST)
        assert answer_of(caller).startswith(b"HTTP/1.1 200")


def test_the_rest_of_a_refused_body_that_does_not_come_is_not_waited_for(refusing):
    with connected(refusing) as caller:
        caller.sendall(HEAD % 300_000)
        assert answer_of(caller).startswith(b"HTTP/1.1 413")
        assert drip(caller, b" " * 3000)
        assert read_to_the_end(caller) == b""


def test_a_connection_is_kept_between_requests_for_longer_than_a_head_may_take(impatient):
    with connected(impatient) as caller:
        for pause in (0.0, 0.6, 0.6):
            time.sleep(pause)
            caller.sendall(REQUEST)
            assert caller.recv(65536).startswith(b"HTTP/1.1 200")
        caller.sendall(REQUEST[:30])
        assert problem_in(read_to_the_end(caller))["status"] == 408


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no TCP_USER_TIMEOUT")
def test_a_caller_that_does_not_read_its_answer_is_cut(impatient):
    """Its answer, of some megabytes, would lie in memory for as long as it likes."""
    ids = [f"x{place}" for place in range(10_000)]
    body = json.dumps({"user_id": "u1", "candidate_ids": ids, "top_k": 10_000, "explain": True}).encode()
    with socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.connect(("127.0.0.1", impatient.http.base_url.port))
        caller.sendall(HEAD % len(body) + body)
        caller.settimeout(60)
        answer = caller.recv(4096)
        length = int(answer.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        time.sleep(3)
        assert len(answer + read_to_the_end(caller)) < length


def test_slow_clients_hold_nobody_up(serve):
    """Who waited for them would wait for ten minutes."""
    with serve(read_timeout_s=600) as served:
        with contextlib.ExitStack() as stack:
            for _ in range(100):
                stack.enter_context(connected(served)).sendall(REQUEST[:-5])
            assert served.http.post("/v1/rank", content=BODY).status_code == 200
        assert served.http.get("/livez").status_code == 200
