"""A real OTLP receiver over gRPC, in this process: where the example's spans arrive."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(frozen=True)
class Received:
    """A span, and the service it came from."""

    service: str
    span: Span

    @property
    def trace_id(self) -> str:
        return self.span.trace_id.hex()

    @property
    def links(self) -> set[str]:
        """The traces it is linked to."""
        return {link.trace_id.hex() for link in self.span.links}

    @property
    def attributes(self) -> dict[str, str]:
        return {each.key: each.value.string_value for each in self.span.attributes}


@dataclass
class Receiver:
    endpoint: str = ""
    spans: list[Received] = field(default_factory=list[Received])

    def named(self, name: str) -> list[Received]:
        return [each for each in list(self.spans) if each.span.name == name]


class _TraceService(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        for resource in request.resource_spans:
            attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
            for scope in resource.scope_spans:
                self._receiver.spans += [Received(attributes["service.name"], span) for span in scope.spans]
        return trace_service_pb2.ExportTraceServiceResponse()


@contextmanager
def receiving() -> Generator[Receiver]:
    server = grpc.server(ThreadPoolExecutor(2))
    receiver = Receiver()
    register: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server  # pyright: ignore[reportUnknownVariableType, reportUnknownMemberType] - generated
    register(_TraceService(receiver), server)
    receiver.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield receiver
    finally:
        server.stop(0).wait()
