import asyncio
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest

from benchmarks.load import Callers, Line, Reply


class Echo(BaseHTTPRequestHandler):
    """Answers with the body, and closes after every second answer without saying so."""

    protocol_version = "HTTP/1.1"
    answers = 0

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        Echo.answers += 1
        self.close_connection = Echo.answers % 2 == 0

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True


@pytest.fixture
def url() -> Iterator[str]:
    with Server(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_a_line_goes_on_over_a_new_connection_where_the_service_closed_the_old_one(url: str):
    with Line(url) as line:
        bodies = [b"x" * size for size in (1, 100_000, 3, 4, 5)]
        replies = [line.post(body) for body in bodies]
    assert [reply.status for reply in replies] == [200] * 5
    assert [reply.body for reply in replies] == bodies


def test_a_line_to_nobody_says_so():
    with Line("http://127.0.0.1:9") as line:
        assert line.post(b"{}").status == 0


def test_requests_on_a_schedule_are_timed_from_when_they_were_due(url: str):
    offsets = [0.0, 0.02, 0.03]

    async def ask() -> list[Reply]:
        callers = Callers(url)
        replies = await callers.on_schedule(offsets, lambda number: b"%d" % number, spin_s=0.002)
        await callers.close()
        return replies

    replies = asyncio.run(ask())
    assert [reply.body for reply in replies] == [b"0", b"1", b"2"]
    due = [reply.began - replies[0].began for reply in replies]
    assert due == pytest.approx(offsets)
