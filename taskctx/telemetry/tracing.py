"""OpenTelemetry spans: one observer that wraps operations.

========================  ========  ====================  ==================
span                      kind      parent                links
========================  ========  ====================  ==================
taskctx.capture           INTERNAL  current
taskctx.save              PRODUCER  current
taskctx.restore           INTERNAL  Docket's CONSUMER     the save (origin)
process {docket_task}     CONSUMER  the save (origin)     Docket's CONSUMER
========================  ========  ====================  ==================

Where no span is current, the save begins a trace, and Docket's span of the submission is a child of the save's span.

The span ``process`` exists only with ``trace_mode="parent"``, and lasts as long as the task's body.  Docket's own
CONSUMER span gets a link to the origin too, unless Docket has set it: Docket loses the link on retries and on tasks
that were scheduled for later.  A span in the origin's trace gets no link: a Docket that makes its span a child of the
submission (from 0.29.1, with ``parent_task_spans``; FastMCP 4.2 has the option) needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextvars import Token
from functools import lru_cache
from typing import Any, Final

from opentelemetry import context, trace
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace import Span as OTelSpan

from .._caller.trace_context import parent_context, span_context
from .._runtime import current_settings
from .._version import __version__
from ..operations import FIELDS, Capture, FieldResult, Operation, Outcome, Restore, Run, Save
from .names import Attribute, Span
from .observers import NOT_WATCHED, OwnObserver

_Started = tuple[OTelSpan, OTelSpan, Token[context.Context] | None]
"""A started span, the span around it, and the token to detach; None where no context was attached."""

_Attributes = dict[str, Any]

# plain strings: OpenTelemetry checks each name, and is slower with a member of an enumeration
_SYSTEM: Final = Attribute.MESSAGING_SYSTEM.value
_DESTINATION: Final = Attribute.MESSAGING_DESTINATION.value
_OPERATION: Final = Attribute.MESSAGING_OPERATION.value
_BATCH_COUNT: Final = Attribute.MESSAGING_BATCH_COUNT.value
_DOCKET_NAME: Final = Attribute.DOCKET_NAME.value
_DOCKET_TASK: Final = Attribute.DOCKET_TASK.value
_ATTEMPT: Final = Attribute.DOCKET_ATTEMPT.value
_ERROR_TYPE: Final = Attribute.ERROR_TYPE.value
_OUTCOME: Final = Attribute.OUTCOME.value
_FIELDS: Final = Attribute.FIELDS.value
_ORIGIN_TRACE_ID: Final = Attribute.ORIGIN_TRACE_ID.value
_SIZE: Final = Attribute.SNAPSHOT_SIZE.value
_AGE: Final = Attribute.SNAPSHOT_AGE.value
_TTL_REMAINING: Final = Attribute.SNAPSHOT_TTL_REMAINING.value
_SCHEMA_VERSION: Final = Attribute.SNAPSHOT_SCHEMA_VERSION.value
_KEY_ID: Final = Attribute.ENCRYPTION_KEY_ID.value


class TracingObserver(OwnObserver):
    """Makes spans with the given tracer provider, or with the global one, which may be set later."""

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("taskctx", __version__, tracer_provider)
        self._has_provider = tracer_provider is not None

    def wants(self, kind: type[Operation]) -> bool:
        """Whether an operation has a span.  A task's body has a span only with ``trace_mode="parent"``."""
        return kind in _SPANS or (kind is Run and current_settings().trace_mode == "parent")

    def on_start(self, operation: Operation) -> _Started | object:
        # Without an SDK there are no spans.  The name is private, because get_tracer_provider() reads the environment
        # while no provider is set, which costs as much as all of the rest (tests/upstream/test_opentelemetry.py).
        if not self._has_provider and trace._TRACER_PROVIDER is None:  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            return NOT_WATCHED
        outer = trace.get_current_span()
        known = _SPANS.get(type(operation))
        if known is not None:
            name, kind = known
            span = self._tracer.start_span(name, kind=kind)
        elif isinstance(operation, Run):
            span = self._start_process(operation, outer)
        else:
            return NOT_WATCHED
        if span.get_span_context() == outer.get_span_context():
            # there is no SDK: the new span is the current span itself
            return span, outer, None
        return span, outer, context.attach(trace.set_span_in_context(span))

    def on_end(self, operation: Operation, state: _Started) -> None:
        span, outer, token = state
        if token is not None:
            context.detach(token)
        try:
            is_recording = span.is_recording()
            origin = _origin(operation, span) if is_recording or outer.is_recording() else None
            if origin is not None and isinstance(operation, Restore):
                _link(origin, span, outer)
            if is_recording:
                span.set_attributes(_attributes(operation))
                if origin is not None:
                    span.set_attribute(_ORIGIN_TRACE_ID, trace.format_trace_id(origin.trace_id))
                if operation.outcome is Outcome.FAILED:
                    span.set_status(Status(StatusCode.ERROR))
        finally:
            span.end()

    def _start_process(self, run: Run, outer: OTelSpan) -> OTelSpan:
        docket_span = outer.get_span_context()
        return self._tracer.start_span(
            f"process {run.docket_task}",
            context=parent_context(run.origin),
            kind=SpanKind.CONSUMER,
            links=[Link(docket_span)] if docket_span.is_valid else [],
        )


def _origin(operation: Operation, span: OTelSpan) -> SpanContext | None:
    """The span context of the save: for a restore the one in the snapshot, for a save its own.

    The trace id of the save is an attribute of both spans, because a collector's samplers see no links: with the
    attribute they keep either both a request and its tasks, or neither.
    """
    if isinstance(operation, Save):
        return span.get_span_context()
    return span_context(operation.origin) if isinstance(operation, Restore) else None


def _link(origin: SpanContext, *spans: OTelSpan) -> None:
    for span in spans:
        if span.is_recording() and not _leads_to(span, origin.trace_id):
            span.add_link(origin)


def _leads_to(span: OTelSpan, trace_id: int) -> bool:
    """Whether a span is in a trace, or has a link to it."""
    # only the SDK's spans have ``links``: the API's Span is write-only
    links: tuple[Link, ...] = getattr(span, "links", None) or ()
    return trace_id in {span.get_span_context().trace_id, *(link.context.trace_id for link in links)}


def _attributes(operation: Operation) -> _Attributes:
    attributes = _DESCRIBE[type(operation)](operation)
    attributes[_OUTCOME] = str(operation.outcome)
    if operation.outcome is Outcome.FAILED:
        error_type = operation.error_type if isinstance(operation, Run) else operation.reason
        attributes[_ERROR_TYPE] = str(error_type or "_OTHER")
    return attributes


def _capture_attributes(capture: Capture) -> _Attributes:
    attributes = _common("create", capture.docket_name)
    attributes[_FIELDS] = _captured(tuple(capture.fields.values()))
    return attributes


@lru_cache(1_000)
def _captured(found: tuple[frozenset[FieldResult], ...]) -> tuple[str, ...]:
    """The names of captured fields, cached: most captures have the same fields."""
    return _plain(name for name, results in zip(FIELDS, found, strict=False) if FieldResult.CAPTURED in results)


def _save_attributes(save: Save) -> _Attributes:
    attributes = _common("send", save.docket_name, save.docket_task)
    attributes[_FIELDS] = _plain(save.fields)
    if save.sizes:
        attributes[_SIZE] = max(save.sizes)
    if save.count > 1:
        attributes[_BATCH_COUNT] = save.count
    return attributes


def _restore_attributes(restore: Restore) -> _Attributes:
    attributes = _common("receive", restore.docket_name, restore.docket_task)
    if restore.size is not None:
        attributes[_SIZE] = restore.size
    if restore.age is not None:
        attributes[_AGE] = restore.age
    if restore.ttl_remaining is not None:
        attributes[_TTL_REMAINING] = restore.ttl_remaining
    if restore.schema_version is not None:
        attributes[_SCHEMA_VERSION] = restore.schema_version
    if restore.key_id is not None:
        attributes[_KEY_ID] = restore.key_id
    attributes[_ATTEMPT] = restore.attempt
    attributes[_FIELDS] = _plain(restore.fields)
    return attributes


def _run_attributes(run: Run) -> _Attributes:
    attributes = _common("process", run.docket_name, run.docket_task)
    attributes[_ATTEMPT] = run.attempt
    return attributes


def _common(operation_name: str, docket_name: str, docket_task: str = "") -> _Attributes:
    attributes: _Attributes = {_SYSTEM: "docket", _OPERATION: operation_name}
    if docket_name:
        attributes[_DESTINATION] = attributes[_DOCKET_NAME] = docket_name
    if docket_task:
        attributes[_DOCKET_TASK] = docket_task
    return attributes


def _plain(texts: Iterable[str]) -> tuple[str, ...]:
    """Members of a ``StrEnum`` as plain strings: OpenTelemetry before 1.45 refuses subclasses of str in a list."""
    return tuple(map(str.__str__, texts))


_SPANS: Final[dict[type[Operation], tuple[str, SpanKind]]] = {
    Capture: (Span.CAPTURE.value, SpanKind.INTERNAL),
    Save: (Span.SAVE.value, SpanKind.PRODUCER),
    Restore: (Span.RESTORE.value, SpanKind.INTERNAL),
}
"""The operations that have a span in every ``trace_mode``."""

_DESCRIBE: Final[dict[type[Operation], Callable[[Any], _Attributes]]] = {
    Capture: _capture_attributes,
    Save: _save_attributes,
    Restore: _restore_attributes,
    Run: _run_attributes,
}
