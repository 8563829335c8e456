"""The far ends of the collector's pipelines: real OTLP receivers that keep every byte, and senders of OTLP."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import grpc
import httpx
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tests.examples.otlp import Received

TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
METRICS_PATH = "/api/v1/otlp/v1/metrics"
"""Prometheus's."""

Attributes = dict[str, Any]


@dataclass
class TraceReceiver:
    """Stands for Tempo: OTLP over gRPC, on an address that it keeps over stops and starts."""

    address: str
    requests: list[bytes] = field(default_factory=list[bytes])
    _server: grpc.Server | None = None

    def start(self) -> None:
        self._server = grpc.server(ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", -1)])
        # no deserializer: what came in is kept as it came in
        handler = cast("Any", grpc.unary_unary_rpc_method_handler(self._export))
        service, _, method = TRACES.removeprefix("/").partition("/")
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
        assert self._server.add_insecure_port(self.address)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None

    def _export(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        self.requests.append(request)
        return ExportTraceServiceResponse().SerializeToString()

    def spans(self) -> list[Received]:
        return [
            Received(str(attributes(resource.resource.attributes).get("service.name")), span)
            for request in list(self.requests)
            for resource in ExportTraceServiceRequest.FromString(request).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@dataclass(frozen=True)
class Point:
    """A data point of a metric, with the service that sent it."""

    metric: str
    value: float
    resource: Attributes
    attributes: Attributes
    time: int

    @property
    def series(self) -> tuple[str, str, str]:
        """What Prometheus tells series apart by."""
        return self.metric, repr(sorted(self.resource.items())), repr(sorted(self.attributes.items()))


@dataclass
class MetricReceiver:
    """Prometheus's OTLP endpoint: keeps what comes in, and hands it on to a Prometheus that has such an endpoint.

    It answers scrapes too, with nothing, in Tempo's place.
    """

    port: int
    forward_to: str = ""
    requests: list[bytes] = field(default_factory=list[bytes])
    _server: ThreadingHTTPServer | None = None
    _thread: threading.Thread | None = None

    def start(self) -> None:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {
                    name: self.headers[name] for name in ("Content-Type", "Content-Encoding") if name in self.headers
                }
                self._answer(receiver.take(self.path, body, headers))

            def do_GET(self) -> None:
                self._answer(200)

            def _answer(self, status: int) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
                """Nothing on the console."""

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def take(self, path: str, body: bytes, headers: dict[str, str]) -> int:
        if path != METRICS_PATH:
            return 404
        self.requests.append(gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body)
        if self.forward_to:
            return httpx.post(f"{self.forward_to}{path}", content=body, headers=headers).status_code
        return 200

    def stop(self) -> None:
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def metrics(self) -> list[ExportMetricsServiceRequest]:
        return [ExportMetricsServiceRequest.FromString(request) for request in list(self.requests)]

    def named(self) -> dict[str, Metric]:
        """The metrics that came in; the last of each name."""
        resources = (resource for request in self.metrics() for resource in request.resource_metrics)
        return {metric.name: metric for each in resources for scope in each.scope_metrics for metric in scope.metrics}

    def names(self) -> set[str]:
        return set(self.named())

    def points(self, metric: str) -> list[Point]:
        """The data points that came in of a metric, in order."""
        return [point for request in self.metrics() for point in points(request) if point.metric == metric]

    def totals(self, metric: str) -> list[Point]:
        """The last data point of each series."""
        return list({point.series: point for point in self.points(metric)}.values())


def points(request: ExportMetricsServiceRequest) -> Iterator[Point]:
    for of_resource in request.resource_metrics:
        resource = attributes(of_resource.resource.attributes)
        for metric in (metric for scope in of_resource.scope_metrics for metric in scope.metrics):
            for point in metric.sum.data_points:
                value = point.as_int or point.as_double
                yield Point(metric.name, value, resource, attributes(point.attributes), point.time_unix_nano)
            for bucketed in metric.histogram.data_points:
                value = bucketed.count
                yield Point(metric.name, value, resource, attributes(bucketed.attributes), bucketed.time_unix_nano)


def attributes(pairs: Any) -> Attributes:
    return {pair.key: _value(pair.value) for pair in cast("list[KeyValue]", pairs)}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None


def failed(span: Received) -> bool:
    return span.span.status.code == Status.STATUS_CODE_ERROR


def send(address: str, method: str, request: ExportTraceServiceRequest | ExportMetricsServiceRequest) -> None:
    """Export over gRPC, as an SDK does."""
    with grpc.insecure_channel(address) as channel:
        channel.unary_unary(method)(request.SerializeToString(), timeout=10)


def send_http(url: str, request: ExportTraceServiceRequest) -> None:
    """Export over HTTP, compressed."""
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
    content = gzip.compress(request.SerializeToString())
    httpx.post(f"{url}/v1/traces", content=content, headers=headers).raise_for_status()
