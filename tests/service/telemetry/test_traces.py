"""Traces: spans that a real collector gets, and none of it where nobody asks for them."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from model.errors import FulcrumError
from service.telemetry.traces import Traces

CALLER = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@contextmanager
def collector() -> Iterator[tuple[str, list]]:
    """Where spans are sent, and those that came."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans: list = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = ExportTraceServiceRequest()
            sent.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
            assert self.path == "/v1/traces"
            for resource in sent.resource_spans:
                names = {pair.key: pair.value.string_value for pair in resource.resource.attributes}
                assert names["service.name"] == "fulcrum"
                spans.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", spans
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_ranking_is_a_span_with_its_stages_below_the_callers(serve):
    pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is not installed")
    with collector() as (url, spans):
        with serve(otel_endpoint=url) as served:
            headers = {"traceparent": CALLER, "x-request-id": "r-7"}
            body = {"user_id": "u1", "candidate_ids": ["v1", "v2"]}
            assert served.http.post("/v1/rank", json=body, headers=headers).status_code == 200
            assert served.http.post("/v1/rank", json={}).status_code == 422
            assert served.http.get("/no/such/path").status_code == 404
        roots = [span for span in spans if span.name not in STAGES]
        assert [root.name for root in roots] == ["POST /v1/rank", "POST /v1/rank", "GET other"]
        ranking = roots[0]
        assert (ranking.trace_id.hex(), ranking.parent_span_id.hex()) == tuple(CALLER.split("-")[1:3])
        found = {pair.key: pair.value.string_value or pair.value.int_value for pair in ranking.attributes}
        assert found == {
            "http.request.method": "POST",
            "http.route": "/v1/rank",
            "http.response.status_code": 200,
            "fulcrum.request_id": "r-7",
        }
        stages = [span for span in spans if span.parent_span_id == ranking.span_id]
        assert {stage.name for stage in stages} == set(STAGES)
        stages.sort(key=lambda stage: stage.start_time_unix_nano)
        assert stages[-1].name == "respond"
        assert ranking.start_time_unix_nano <= stages[0].start_time_unix_nano
        assert stages[-1].end_time_unix_nano <= ranking.end_time_unix_nano


STAGES = ("wait", "parse", "features", "network", "fusion", "respond")


def test_a_collector_that_is_away_costs_no_request(serve):
    pytest.importorskip("opentelemetry.sdk", reason="the extra `otel` is not installed")
    with serve(otel_endpoint="http://127.0.0.1:9") as served:
        assert served.rank(candidate_ids=["v1"])["degraded"] == []


def test_an_endpoint_without_the_packages_is_refused_with_the_extra_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(FulcrumError, match=r"otel_endpoint: traces need the extra `otel`.*pip install"):
        Traces("http://collector:4318")


@pytest.mark.slow
def test_a_service_without_the_packages_works():
    program = "import sys; sys.modules['opentelemetry.sdk'] = None; import service.server"
    subprocess.run([sys.executable, "-c", program], check=True)
