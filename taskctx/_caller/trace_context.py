"""W3C trace context and baggage, between OpenTelemetry's current context and a snapshot's carrier.

taskctx uses the two W3C propagators whatever ``OTEL_PROPAGATORS`` says: other processes read the snapshot, and their
settings may differ.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote_plus

from opentelemetry import baggage, context, propagate, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY  # pyright: ignore[reportPrivateUsage]
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from .resets import Resets

Span = trace.Span
current_span = trace.get_current_span

BAGGAGE = "baggage"
TRACEPARENT = "traceparent"
TRACESTATE = "tracestate"

_trace_context = TraceContextTextMapPropagator()
_baggage = W3CBaggagePropagator()
_USUAL = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
"""Matches nearly all traceparents.  OpenTelemetry parses the others, ten times as slowly."""
_BLANKS = re.compile(r"[ \t]+")
_MOST_BYTES, _MOST_MEMBERS, _MOST_BYTES_OF_A_MEMBER = 8192, 180, 4096
"""The limits of OpenTelemetry's baggage propagator; it ignores baggage that exceeds them."""


class Baggage(NamedTuple):
    """The baggage that may travel, as a W3C carrier, and whether other entries were dropped."""

    carrier: dict[str, str]
    dropped: bool


def current_baggage(keys: tuple[str, ...]) -> Baggage:
    """The entries of the current baggage whose keys match one of the patterns, within W3C's limits."""
    entries = baggage.get_all()
    if not entries:
        return Baggage({}, dropped=False)
    # OpenTelemetry's propagator is not used: up to 1.41 it writes more than it reads
    members: list[str] = []
    room = _MOST_BYTES
    for key, value in entries.items():
        if not any(fnmatchcase(key.lower(), pattern.lower()) for pattern in keys) or not _is_utf8(f"{key}{value}"):
            continue
        member = f"{quote_plus(key)}={quote_plus(str(value))}"
        if key.strip() and len(member) <= min(room, _MOST_BYTES_OF_A_MEMBER) and len(members) < _MOST_MEMBERS:
            members.append(member)
            room -= len(member) + len(",")
    return Baggage({BAGGAGE: ",".join(members)} if members else {}, dropped=len(members) < len(entries))


def current_trace() -> dict[str, str]:
    """The current span's context as ``traceparent`` and ``tracestate``; empty where there is no span."""
    current = trace.get_current_span().get_span_context()
    if not current.is_valid:
        return {}
    if current.trace_state:
        carrier: dict[str, str] = {}
        _trace_context.inject(carrier)
        return carrier
    # the propagator writes the same text for most spans, five times as slowly
    return {TRACEPARENT: f"00-{current.trace_id:032x}-{current.span_id:016x}-{current.trace_flags:02x}"}


def current_trace_id() -> str | None:
    """The current span's trace id in hexadecimal."""
    current = trace.get_current_span().get_span_context()
    return trace.format_trace_id(current.trace_id) if current.is_valid else None


def span_context(carrier: Mapping[str, str]) -> trace.SpanContext | None:
    """The span context in a carrier; None when the carrier holds none, or one that is not valid."""
    if TRACEPARENT not in carrier:
        return None
    usual = None if TRACESTATE in carrier else _USUAL.fullmatch(carrier[TRACEPARENT])
    if usual is not None:
        trace_id, span_id, flags = (int(part, 16) for part in usual.groups())
        return trace.SpanContext(trace_id, span_id, is_remote=True, trace_flags=trace.TraceFlags(flags))
    with _quiet.applied():
        extracted = _trace_context.extract(carrier, context.Context())
    found = trace.get_current_span(extracted).get_span_context()
    return found if found.is_valid else None


def parent_context(carrier: Mapping[str, str]) -> context.Context:
    """The context in which a new span becomes a child of the carrier's span."""
    found = span_context(carrier)
    if found is None:
        return context.get_current()
    return trace.set_span_in_context(trace.NonRecordingSpan(found))


def clear_baggage(resets: Resets) -> None:
    """Clear the current baggage; ``resets`` restores it."""
    if baggage.get_all():
        resets.later(context.detach, context.attach(baggage.clear()))


def clear_trace(resets: Resets) -> None:
    """Clear the current span and baggage; ``resets`` restores them."""
    resets.later(context.detach, context.attach(context.Context()))


def use_baggage(carrier: Mapping[str, str], resets: Resets) -> None:
    """Replace the current baggage by the carrier's, if the carrier has any; ``resets`` undoes it."""
    if BAGGAGE not in carrier:
        return
    cleared = baggage.clear()
    with _quiet.applied():
        replaced = _baggage.extract(_without_runs(carrier), cleared)
    resets.later(context.detach, context.attach(replaced))


@contextmanager
def use_remote_context(carrier: Mapping[str, str]) -> Generator[None]:
    """Make the carrier's trace context and baggage current, unless a span of this process is current.

    No instrumentation made a current span that is remote.  A carrier with a traceparent of its own replaces that span,
    its trace state and its baggage.
    """
    current, surroundings = trace.get_current_span().get_span_context(), context.get_current()
    if current.is_valid and not current.is_remote:
        yield
        return
    if current.is_remote and TRACEPARENT in carrier:
        surroundings = baggage.clear(trace.set_span_in_context(trace.INVALID_SPAN))
    with _quiet.applied():
        remote = _baggage.extract(_without_runs(carrier), _trace_context.extract(carrier, surroundings))
    token = context.attach(remote)
    try:
        yield
    finally:
        context.detach(token)


def _without_runs(carrier: Mapping[str, str]) -> dict[str, str]:
    """A carrier's baggage with one blank in place of several.

    OpenTelemetry splits baggage with a pattern that takes quadratic time in a run of blanks: 40 ms for 8 KiB.
    """
    found = carrier.get(BAGGAGE)
    return {} if found is None else {BAGGAGE: _BLANKS.sub(" ", found)}


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def message_carrier() -> dict[str, str] | None:
    """The trace fields for a task's Docket message; None where only Docket itself can write them.

    Docket itself must write them where its span of this submission is recorded, or would begin a trace that may be
    recorded; and where propagators other than W3C's are in use, because they may inject more than the trace context.
    """
    span, fields = trace.get_current_span(), _fields(propagate.get_global_textmap())
    if span.is_recording() or not fields <= {TRACEPARENT, TRACESTATE, BAGGAGE}:
        return None
    # the private name, because get_tracer_provider() creates a provider from the environment (see tests/upstream)
    is_traced = trace._TRACER_PROVIDER is not None  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
    current = span.get_span_context()
    if is_traced and (current.trace_flags.sampled or not current.is_valid):
        return None
    return current_trace() if current.is_valid and TRACEPARENT in fields else {}


@lru_cache(maxsize=4)
def _fields(propagator: TextMapPropagator) -> set[str]:
    return propagator.fields


@contextmanager
def continuing(span: Span) -> Generator[None]:
    """Make a span, even one that has ended, the current span where no span is current."""
    if trace.get_current_span().get_span_context().is_valid:
        yield
        return
    token = context.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        context.detach(token)


@contextmanager
def use_parent_span(carrier: Mapping[str, str]) -> Generator[None]:
    """Make the carrier's span the current span."""
    token = context.attach(parent_context(carrier))
    try:
        yield
    finally:
        context.detach(token)


def suppress_instrumentation() -> Token[context.Context]:
    """Stop instrumented libraries from making spans of taskctx's own Redis calls, until the token is detached."""
    return context.attach(context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))


resume_instrumentation = context.detach
"""Ends the suppression that :func:`suppress_instrumentation` began."""


class _Quiet(logging.Filter):
    """Stops the propagators' warnings about invalid headers: these warnings quote baggage and tracestate.

    The filter acts only inside :meth:`applied`.  Remove it when opentelemetry-api logs neither.
    """

    _active: ContextVar[bool] = ContextVar("taskctx_quiet", default=False)

    def filter(self, record: logging.LogRecord) -> bool:
        return not self._active.get()

    @contextmanager
    def applied(self) -> Generator[None]:
        token = self._active.set(True)
        try:
            yield
        finally:
            self._active.reset(token)


_quiet = _Quiet()
for _name in ("opentelemetry.baggage.propagation", "opentelemetry.trace.span"):
    logging.getLogger(_name).addFilter(_quiet)
