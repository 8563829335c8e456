"""OpenTelemetry spans: one observer that wraps operations.

========================  ========  ====================  ==================
span                      kind      parent                links
========================  ========  ====================  ==================
taskctx.capture           INTERNAL  current
taskctx.save              PRODUCER  current
taskctx.restore           INTERNAL  Docket's CONSUMER     the save (origin)
process {docket_task}     CONSUMER  the save (origin)     Docket's CONSUMER
========================  ========  ====================  ==================

The last exists with ``trace_mode="parent"`` only, and lasts as long as the task's body.  The origin is linked from
Docket's own span too: Docket loses it on retries and on tasks that were scheduled ahead.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import Token
from dataclasses import dataclass
from typing import Any

from opentelemetry import context, trace
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TracerProvider
from opentelemetry.trace import Span as OTelSpan

from .._caller.trace_context import parent_context, span_context
from .._version import __version__
from ..operations import Capture, Operation, Outcome, Restore, Run, Save
from ..settings import current_settings
from .names import Attribute, Span
from .observe import Observer

MESSAGING_SYSTEM = "docket"


@dataclass(frozen=True, slots=True)
class _Started:
    """A span under way, the span it is inside of, and how to leave it; None where there is nothing to enter."""

    span: OTelSpan
    outer: OTelSpan
    token: Token[context.Context] | None


class TracingObserver(Observer):
    """Makes spans with a tracer provider: the global one, whenever it is set, unless another is given."""

    def __init__(self, tracer_provider: TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("taskctx", __version__, tracer_provider)
        self._has_provider = tracer_provider is not None

    def on_start(self, operation: Operation) -> _Started | None:
        if not self._is_wired():
            return None
        outer = trace.get_current_span()
        match operation:
            case Capture():
                span = self._tracer.start_span(Span.CAPTURE, kind=SpanKind.INTERNAL)
            case Save():
                span = self._tracer.start_span(Span.SAVE, kind=SpanKind.PRODUCER)
            case Restore():
                span = self._tracer.start_span(Span.RESTORE, kind=SpanKind.INTERNAL)
            case Run() if current_settings().trace_mode == "parent":
                span = self._start_process(operation, outer)
            case _:
                return None
        if span.get_span_context() == outer.get_span_context():
            # there is no SDK: the span is the one that it is inside of
            return _Started(span, outer, None)
        return _Started(span, outer, context.attach(trace.set_span_in_context(span)))

    def on_end(self, operation: Operation, state: _Started | None) -> None:
        if state is None:
            return
        if state.token is not None:
            context.detach(state.token)
        try:
            self._describe(operation, state)
        finally:
            state.span.end()

    def _is_wired(self) -> bool:
        """Whether anybody makes spans here: the global provider may be set at any time."""
        # private, because get_tracer_provider() reads the environment as long as there is none, which costs as much as
        # all of the rest (tests/upstream/test_opentelemetry.py)
        return self._has_provider or trace._TRACER_PROVIDER is not None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

    def _start_process(self, run: Run, outer: OTelSpan) -> OTelSpan:
        docket_span = outer.get_span_context()
        return self._tracer.start_span(
            f"process {run.docket_task}",
            context=parent_context(run.origin),
            kind=SpanKind.CONSUMER,
            links=[Link(docket_span)] if docket_span.is_valid else [],
        )

    def _describe(self, operation: Operation, state: _Started) -> None:
        if isinstance(operation, Restore):
            self._link_origin(operation, state)
        if not state.span.is_recording():
            return
        state.span.set_attributes(_attributes(operation))
        if operation.outcome is Outcome.FAILED:
            state.span.set_status(Status(StatusCode.ERROR))

    def _link_origin(self, restore: Restore, state: _Started) -> None:
        origin = span_context(restore.origin)
        if origin is None:
            return
        for span in (state.span, state.outer):
            if span.is_recording() and not _is_linked(span, origin):
                span.add_link(origin)


def _is_linked(span: OTelSpan, target: SpanContext) -> bool:
    # ``links`` is the SDK's: the API's Span can only be written to
    links: tuple[Link, ...] = getattr(span, "links", None) or ()
    return any((link.context.trace_id, link.context.span_id) == (target.trace_id, target.span_id) for link in links)


def _attributes(operation: Operation) -> dict[str, Any]:
    attributes: dict[str, Any] = {Attribute.MESSAGING_SYSTEM: MESSAGING_SYSTEM}
    match operation:
        case Capture():
            _add(attributes, operation.docket_name, "create")
            captured = (name for name, results in operation.fields.items() if "captured" in results)
            attributes[Attribute.FIELDS] = _plain(captured)
        case Save():
            _add(attributes, operation.docket_name, "send", operation.docket_task)
            attributes[Attribute.FIELDS] = _plain(operation.fields)
            if operation.sizes:
                attributes[Attribute.SNAPSHOT_SIZE] = max(operation.sizes)
            if operation.count > 1:
                attributes[Attribute.MESSAGING_BATCH_COUNT] = operation.count
        case Restore():
            _add(attributes, operation.docket_name, "receive", operation.docket_task)
            attributes |= _restore_attributes(operation)
        case Run():
            _add(attributes, operation.docket_name, "process", operation.docket_task)
            attributes[Attribute.DOCKET_ATTEMPT] = operation.attempt
        case _:
            pass
    attributes[Attribute.OUTCOME] = operation.outcome.value
    if operation.outcome is Outcome.FAILED:
        error_type = operation.error_type if isinstance(operation, Run) else operation.reason
        attributes[Attribute.ERROR_TYPE] = str(error_type or "_OTHER")
    return attributes


def _plain(texts: Iterable[str]) -> tuple[str, ...]:
    """Members of a ``StrEnum`` as plain strings: OpenTelemetry before 1.45 takes no subclass of str in a list."""
    return tuple(map(str.__str__, texts))


def _add(attributes: dict[str, Any], docket_name: str, operation_name: str, docket_task: str = "") -> None:
    attributes[Attribute.MESSAGING_OPERATION] = operation_name
    if docket_name:
        attributes[Attribute.MESSAGING_DESTINATION] = attributes[Attribute.DOCKET_NAME] = docket_name
    if docket_task:
        attributes[Attribute.DOCKET_TASK] = docket_task


def _restore_attributes(restore: Restore) -> dict[str, Any]:
    known = {
        Attribute.SNAPSHOT_SIZE: restore.size,
        Attribute.SNAPSHOT_AGE: restore.age,
        Attribute.SNAPSHOT_TTL_REMAINING: restore.ttl_remaining,
        Attribute.SNAPSHOT_SCHEMA_VERSION: restore.schema_version,
        Attribute.ENCRYPTION_KEY_ID: restore.key_id,
        Attribute.DOCKET_ATTEMPT: restore.attempt,
        Attribute.FIELDS: _plain(restore.fields),
    }
    return {name: value for name, value in known.items() if value is not None}
