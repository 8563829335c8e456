"""Telemetry with credentials in every place that it has, made on purpose; and where to find what got through."""

from __future__ import annotations

import base64
import json
import re
import secrets as randomness
import time
from collections.abc import Iterator, Mapping
from typing import Any, cast
from urllib.parse import quote, urlencode

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Exemplar,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from examples.fastapi_service import auth
from tests.secrets import MARKER, secret

SERVICE = "leaky"
SPAN_NAME = "order a report"
LINKED_NAME = "comes after another"
GAUGE, COUNTER, HISTOGRAM = "leaky.gauge", "leaky.counter", "leaky.histogram"
METRICS = {GAUGE, COUNTER, HISTOGRAM}

JWT = auth.issue(secret("signing-key-of-at-least-32-characters"), "ada")
SEALED = "TCX1" + base64.urlsafe_b64encode(randomness.token_bytes(90)).decode()
SEALED_BYTES = b"TCX1" + bytes(range(256))
FERNET = "gAAAAA" + base64.urlsafe_b64encode(randomness.token_bytes(90)).decode()

CREDENTIALS: Mapping[str, str] = {
    # by the name that a header is captured under
    "http.request.header.authorization": f"Bearer {secret('captured')}",
    "http.request.header.x-api-key": secret("captured-key"),
    "http.response.header.set-cookie": f"session={secret('set-cookie')}; HttpOnly",
    # by a name that says what it is
    "authorization": secret("raw-authorization"),
    "app.cookie": f"session={secret('cookie')}",
    "Set-Cookie": f"session={secret('cookie-2')}",
    "app.access_token": secret("opaque-token"),
    "refreshToken": secret("refresh"),
    "api_key": secret("api-key"),
    "db.password": secret("password"),
    "client_secret": secret("client-secret"),
    # by what it looks like, whatever it is called
    "app.note": f"called with {JWT} today",
    "app.line": f"Authorization: Bearer {secret('said')}, twice: bearer {secret('said-again')}",
    "app.basic": f"Basic {base64.b64encode(secret('user:password').encode()).decode()}",
    "app.payload": SEALED,
    "app.repr": repr(SEALED_BYTES),
    "app.sealed_elsewhere": f"value is {FERNET}.",
    "url.full": f"https://api/reports?access_token={secret('in-a-url')}&page=2",
    "url.query": f"page=2&api_key={secret('in-a-query')}",
    "app.form": urlencode({"said": f"Authorization: Bearer {secret('in-a-form')}", "password": secret("in-a-form-2")}),
    "app.form.quoted": quote(f"bearer {secret('quoted')} secret = {secret('quoted-2')}"),
    "app.json": json.dumps({"password": secret("in-json"), "api-key": [secret("in-a-json-list")]}),
    "app.json.json": json.dumps({"body": json.dumps({"client_secret": f"in {secret('json-in-json')}"})}),
    "app.json.quotes": json.dumps({"password": f'"in quotes", {secret("after-a-quote")}'}),
    "app.json.list": json.dumps({"password": ["one", {"two": secret("second-of-a-list")}]}),
    "app.json.pairs": json.dumps({"headers": [["host", "reports"], ["password", f"in a {secret('pair')}"]]}),
    "app.json.pairs.json": json.dumps(json.dumps([["password", secret("pair-in-json")]])),
    "app.json.pairs.form": urlencode({"body": json.dumps([["password", secret("pair-in-a-form")]]), "page": 2}),
    "app.json.items": json.dumps([{"key": "password", "value": {"stringValue": f"an {secret('item')}"}}]),
    "app.pairs.repr": repr([(b"host", b"reports"), (b"x-api-key", secret("pair-in-a-repr").encode())]),
    "app.quoted": f"password = 'in {secret('single-quotes')}'",
}

NEEDLES: tuple[re.Pattern[bytes], ...] = (
    re.compile(MARKER.encode()),
    re.compile(rb"TCX1"),
    re.compile(rb"gAAAAA"),
    # any JWT, whoever made it; and the parts of ours
    re.compile(rb"eyJ[A-Za-z0-9_-]{6,}"),
    *(re.compile(re.escape(part.encode())) for part in JWT.split(".")),
    re.compile(re.escape(SEALED.encode()[4:40])),
    re.compile(re.escape(FERNET.encode()[6:40])),
    re.compile(re.escape(base64.b64encode(secret("user:password").encode())[:16])),
    re.compile(base64.b64encode(MARKER.encode())[:-2]),
)
"""What must not be found."""


def _pairs(texts: Mapping[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=text)) for key, text in texts.items()]


def _attributes() -> list[KeyValue]:
    """All credentials, as text, in lists, in maps and as bytes."""
    # what is inside has no part in the outer name
    nested = {f"list.{number}": _list(f"{key}: {text}") for number, (key, text) in enumerate(CREDENTIALS.items())}
    nested |= {
        f"map.{number}": _map(key, AnyValue(string_value=text))
        for number, (key, text) in enumerate(CREDENTIALS.items())
    }
    nested |= {f"map.list.{number}": _map(key, _list(text)) for number, (key, text) in enumerate(CREDENTIALS.items())}
    nested |= {f"pairs.{number}": _pair(key, text) for number, (key, text) in enumerate(CREDENTIALS.items())}
    nested["http.request.header.cookie"] = _list(f"session={secret('in-a-list')}")
    nested["bytes.sealed"] = AnyValue(bytes_value=SEALED_BYTES)
    nested["bytes.jwt"] = AnyValue(bytes_value=JWT.encode())
    nested["bytes.bearer"] = AnyValue(bytes_value=f"Bearer {secret('bytes')}".encode())
    return _pairs(CREDENTIALS) + [KeyValue(key=key, value=value) for key, value in nested.items()]


def _list(text: str) -> AnyValue:
    return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=text)]))


def _pair(*texts: str) -> AnyValue:
    """A list in a list, as ASGI has headers."""
    pair = ArrayValue(values=[AnyValue(string_value=text) for text in texts])
    return AnyValue(array_value=ArrayValue(values=[AnyValue(array_value=pair)]))


def _map(key: str, value: AnyValue) -> AnyValue:
    return AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key=key, value=value)]))


def _resource(service: str) -> Resource:
    return Resource(attributes=[*_pairs({"service.name": service}), *_attributes()])


def _scope() -> InstrumentationScope:
    return InstrumentationScope(name="leaky.instrumentation", attributes=_attributes())


_EVERYTHING = " ".join(CREDENTIALS[name] for name in ("app.line", "app.note", "app.payload"))


def leaky_trace(trace_id: str) -> ExportTraceServiceRequest:
    """Spans of a client who sends the request with this trace id: with an error, so that the trace is kept."""
    now = time.time_ns()
    span = Span(
        trace_id=bytes.fromhex(trace_id),
        span_id=randomness.token_bytes(8),
        trace_state=f"vendor={JWT}",
        name=SPAN_NAME,
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=now - 1_000_000,
        end_time_unix_nano=now,
        attributes=_attributes(),
        events=[
            Span.Event(
                name="exception",
                time_unix_nano=now,
                attributes=_pairs(
                    {
                        "exception.type": "LeakError",
                        "exception.message": f"could not log in with {secret('password-in-a-message')}",
                        "exception.stacktrace": f"Traceback: token = '{secret('local-variable')}'",
                    }
                ),
            ),
            Span.Event(name=f"sent {_EVERYTHING}", time_unix_nano=now, attributes=_attributes()),
        ],
        status=Status(code=Status.STATUS_CODE_ERROR, message=f"{_EVERYTHING} {secret('in-a-status')}"),
    )
    in_its_name = _child(span, f"GET /reset/{JWT}/{_EVERYTHING}")
    in_its_link = _child(span, LINKED_NAME)
    in_its_link.links.add(
        trace_id=randomness.token_bytes(16),
        span_id=randomness.token_bytes(8),
        trace_state=f"vendor={JWT}",
        attributes=_attributes(),
    )
    of_scope = ScopeSpans(scope=_scope(), spans=[span, in_its_name, in_its_link])
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=_resource(SERVICE), scope_spans=[of_scope])]
    )


def _child(parent: Span, name: str) -> Span:
    return Span(
        trace_id=parent.trace_id,
        span_id=randomness.token_bytes(8),
        parent_span_id=parent.span_id,
        name=name,
        start_time_unix_nano=parent.start_time_unix_nano,
        end_time_unix_nano=parent.end_time_unix_nano,
    )


def leaky_metrics() -> ExportMetricsServiceRequest:
    """A gauge, a counter and a histogram with credentials as labels."""
    now = time.time_ns()
    exemplar = Exemplar(time_unix_nano=now, as_double=1.0, filtered_attributes=_attributes())
    point = NumberDataPoint(time_unix_nano=now, as_double=1.0, attributes=_attributes(), exemplars=[exemplar])
    bucketed = HistogramDataPoint(
        time_unix_nano=now,
        count=1,
        sum=1.0,
        bucket_counts=[0, 1],
        explicit_bounds=[0.5],
        attributes=_attributes(),
        exemplars=[exemplar],
    )
    cumulative = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
    metrics = [
        Metric(name=GAUGE, gauge=Gauge(data_points=[point])),
        Metric(name=COUNTER, sum=Sum(data_points=[point], aggregation_temporality=cumulative, is_monotonic=True)),
        Metric(name=HISTOGRAM, histogram=Histogram(data_points=[bucketed], aggregation_temporality=cumulative)),
    ]
    of_scope = ScopeMetrics(scope=_scope(), metrics=metrics)
    return ExportMetricsServiceRequest(
        resource_metrics=[ResourceMetrics(resource=_resource(SERVICE), scope_metrics=[of_scope])]
    )


def has_credential(raw: bytes) -> bool:
    return any(needle.search(raw) for needle in NEEDLES)


def where(message: Message, path: str = "") -> Iterator[str]:
    """The fields with credentials in them, as paths: without the credentials, so that it can be printed."""
    for descriptor, value in message.ListFields():
        name = f"{path}.{descriptor.name}" if path else descriptor.name
        values = cast("list[Any]", value if descriptor.is_repeated else [value])
        for each in values:
            if descriptor.type == FieldDescriptor.TYPE_MESSAGE:
                key = f"[{each.key}]" if isinstance(each, KeyValue) else ""
                yield from where(each, name + key)
            elif has_credential(each if isinstance(each, bytes) else str(each).encode()):
                yield name
