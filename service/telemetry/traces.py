"""Traces: a span for each request and for the stages of a ranking, by OpenTelemetry where it is installed.

Spans are made once the answer is out, from times that are taken anyway; a service without traces pays nothing
for them. Knows no ranking.
"""

from __future__ import annotations

import time

from starlette.datastructures import Headers
from starlette.types import Scope

from model.errors import FulcrumError
from service.ranking.stopwatch import Stopwatch
from service.telemetry.scope import NAME, WATCH

_PATH = "/v1/traces"
_SEND_TIMEOUT_S = 2.0


class Traces:
    """Where spans go.

    Args:
        endpoint: of a collector, OTLP over HTTP.

    Raises:
        FulcrumError: OpenTelemetry is not installed.
    """

    def __init__(self, endpoint: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
        except ModuleNotFoundError as error:
            raise FulcrumError(
                f"settings: otel_endpoint: traces need the extra `otel`, of which {error.name!r} is not "
                "installed: pip install '.[otel]' -c constraints.txt"
            ) from error
        url = endpoint if endpoint.endswith(_PATH) else endpoint.rstrip("/") + _PATH
        exporter = OTLPSpanExporter(endpoint=url, timeout=_SEND_TIMEOUT_S)
        resource = Resource.create({"service.name": "fulcrum"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("fulcrum")

    def answered(self, scope: Scope, status: int, began: float) -> None:
        """A request has its answer: a span for it, a child of the caller's, and below it one for each stage.

        Args:
            scope: the request.
            status: of the answer, 0 if there was none.
            began: when it came, of `time.perf_counter`.
        """
        from opentelemetry.trace import SpanKind, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        epoch_ns = time.time_ns() - time.perf_counter_ns()
        route = getattr(scope.get("route"), "path", "other")
        span = self._tracer.start_span(
            f"{scope['method']} {route}",
            context=TraceContextTextMapPropagator().extract(dict(Headers(scope=scope))),
            kind=SpanKind.SERVER,
            start_time=epoch_ns + round(began * 1e9),
            attributes={
                "http.request.method": scope["method"],
                "http.route": route,
                "http.response.status_code": status,
                "fulcrum.request_id": scope.get(NAME, ""),
            },
        )
        inside = set_span_in_context(span)
        watch: Stopwatch | None = scope.get(WATCH)
        for stage, start, end in watch.laps if watch else ():
            lap = self._tracer.start_span(stage, inside, start_time=epoch_ns + round(start * 1e9))
            lap.end(epoch_ns + round(end * 1e9))
        span.end()

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()
