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


UPGRADE = (
    b"connection: Upgrade, HTTP2-Settings\r\nupgrade: %s\r\nhttp2-settings: AAEAAEAAAAIAAAABAAMAAABk\r\n"
)


def upgrading(head: bytes, protocol: bytes = b"h2c") -> bytes:
    first, _, rest = head.partition(b"\r\n")
    return first + b"\r\n" + UPGRADE % protocol + rest


def answers(caller: socket.socket, number: int) -> list[tuple[int, bytes]]:
    """Status and body of so many answers."""
    reader = caller.makefile("rb")
    found = []
    for _ in range(number):
        status = int(reader.readline().split()[1])
        length = 0
        while (line := reader.readline()) not in {b"\r\n", b""}:
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        found.append((status, reader.read(length)))
    return found


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"odd/1, h2c"])
@pytest.mark.parametrize("piece", [1_000_000, 7])
def test_a_wish_for_another_protocol_is_ignored_and_the_body_read(served, protocol, piece):
    """The JDK's client wishes for h2c by default; what comes after on the connection is read, too."""
    chunked = HEAD.replace(b"content-length: %d", b"transfer-encoding: chunked")
    sent = (
        upgrading(HEAD % len(BODY), protocol)
        + BODY
        + upgrading(chunked, protocol)
        + b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)
        + upgrading(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n", protocol)
        + REQUEST
    )
    with connected(served) as caller:
        for start in range(0, len(sent), piece):
            caller.sendall(sent[start : start + piece])
        found = answers(caller, 4)
    assert [status for status, _ in found] == [200, 200, 200, 200]
    ranked = [json.loads(found[place][1])["items"] for place in (0, 1, 3)]
    assert ranked[0] == ranked[1] == ranked[2]


def cut(served, reason: str) -> float:
    line = f'fulcrum_connections_cut_total{{reason="{reason}"}} '
    return float(served.http.get("/metrics").text.partition(line)[2].split("\n")[0])


MALFORMED = [
    b"hello\r\n\r\n",
    b"GET /livez HTTP/1.1\r\nno colon\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT x:1 HTTP/1.1\r\nhost: x\r\n\r\n",
    b"POST /v1/rank HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/rank HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
]


def test_what_is_not_http_is_a_problem_and_counts_in_a_metric_and_is_not_logged(serve, caplog):
    with serve() as served:
        for place, sent in enumerate(MALFORMED):
            with connected(served) as caller:
                caller.sendall(sent)
                problem = problem_in(read_to_the_end(caller))
            assert (problem["status"], cut(served, "malformed")) == (400, place + 1), sent
            assert "not valid HTTP/1.1" in problem["detail"]
    assert [line for line in caplog.records if line.name.startswith(("uvicorn", "service"))] == []


def test_a_whole_request_before_what_is_not_http_gets_its_own_answer(served):
    with connected(served) as caller:
        caller.sendall(REQUEST + b"hello\r\n\r\n")
        answer = read_to_the_end(caller)
    assert answer.startswith(b"HTTP/1.1 200")
    assert answer.count(b"HTTP/1.1") == 1


CHUNKED = HEAD.replace(b"content-length: %d", b"transfer-encoding: chunked") + b"%x\r\n%b\r\n" % (
    len(BODY),
    BODY,
)


def test_trailers_are_read_over(served):
    with connected(served) as caller:
        caller.sendall(CHUNKED + b"0\r\nx-request-id: trailer\r\nexpires: never\r\n\r\n" + REQUEST)
        assert [status for status, _ in answers(caller, 2)] == [200, 200]


@pytest.mark.parametrize(
    "after", [b"0\r\n" + b"x: y\r\n" * 200_000, b"0\r\nx: " + b"y" * 1_000_000, b"5;" + b"y" * 1_000_000]
)
def test_what_surrounds_a_body_has_a_bound_of_its_own(served, after):
    """Trailers and extensions of a chunk are no body, and would pass the body's bound."""
    before = cut(served, "head_too_large")
    with connected(served) as caller:
        with contextlib.suppress(OSError):
            caller.sendall(CHUNKED + after)
        with contextlib.suppress(OSError):
            assert problem_in(read_to_the_end(caller))["status"] == 431
    assert cut(served, "head_too_large") == before + 1


def test_a_body_in_tiny_chunks_is_read(served):
    head, _, _ = CHUNKED.partition(b"\r\n\r\n")
    body = BODY + b" " * 30_000
    with connected(served) as caller:
        caller.sendall(head + b"\r\n\r\n" + b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n")
        assert answers(caller, 1)[0][0] == 200


def test_a_caller_who_ends_its_side_gets_its_answer(served):
    with connected(served) as caller:
        caller.sendall(REQUEST)
        caller.shutdown(socket.SHUT_WR)
        answer = read_to_the_end(caller)
    assert answer.replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"").startswith(b"HTTP/1.1 200")
    assert answer.endswith(b"}")


def test_a_caller_who_ends_its_side_within_a_request_gets_nothing(served):
    with connected(served) as caller:
        caller.sendall(REQUEST[:-5])
        caller.shutdown(socket.SHUT_WR)
        assert read_to_the_end(caller) == b""


def big_answer() -> bytes:
    ids = [f"x{place}" for place in range(10_000)]
    body = json.dumps({"user_id": "u1", "candidate_ids": ids, "top_k": 10_000, "explain": True}).encode()
    return HEAD % len(body) + body


def take_by_the_byte(caller: socket.socket) -> None:
    for _ in range(1200):
        assert caller.recv(2048)
        time.sleep(0.05)


def test_a_caller_that_takes_its_answer_by_the_byte_is_cut(serve):
    """It takes something all the time, but not all in time; what the system holds for it goes, too."""
    with serve(read_timeout_s=1.0) as served, socket.socket() as caller:
        caller.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        caller.connect(("127.0.0.1", served.http.base_url.port))
        caller.sendall(big_answer())
        caller.settimeout(60)
        with pytest.raises(ConnectionResetError):
            take_by_the_byte(caller)
        assert cut(served, "answer_not_taken") == 1


def test_connections_have_a_bound_and_the_one_idle_for_the_longest_makes_room(serve):
    with serve(max_connections=16, read_timeout_s=600) as served, contextlib.ExitStack() as stack:
        callers = [stack.enter_context(connected(served)) for _ in range(40)]
        for caller in callers[-14:]:
            caller.sendall(REQUEST)
            assert answers(caller, 1)[0][0] == 200
        assert served.http.get("/livez").status_code == 200
        for caller in callers[:20]:
            assert read_to_the_end(caller) == b""
        assert cut(served, "too_many_connections") >= 24


def test_bodies_that_do_not_come_keep_no_connection_from_others(serve):
    with serve(max_connections=16, read_timeout_s=600) as served, contextlib.ExitStack() as stack:
        callers = [stack.enter_context(connected(served)) for _ in range(16)]
        for caller in callers:
            caller.sendall(REQUEST[:-5])
        assert served.http.post("/v1/rank", content=BODY).status_code == 200
        assert problem_in(read_to_the_end(callers[0]))["status"] == 503
