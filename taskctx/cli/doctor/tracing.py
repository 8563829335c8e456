"""Checks that traces continue in the workers: by the stored snapshots, and by OpenTelemetry's settings here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.util import find_spec

from taskctx._caller.trace_context import span_context

from ..operating.words import counted
from .finding import Finding, Severity, ok
from .survey import DocketSurvey

_SWITCHED_OFF = (
    ("OTEL_SDK_DISABLED", {"true"}),
    ("OTEL_TRACES_EXPORTER", {"none"}),
    ("OTEL_TRACES_SAMPLER", {"always_off"}),
    ("TASKCTX_TRACING", {"false", "0"}),
)
_PROPAGATORS = {"tracecontext", "baggage"}
_WIRED = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_TRACES_EXPORTER")


def check_traces(docket: DocketSurvey, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Check that the opened snapshots hold the traces of their submitters."""
    carriers = [each.record.trace_context for each in docket.snapshots if each.record is not None]
    if carriers:
        yield _snapshots(docket.name, carriers, wired=_is_wired(environment))


def check_environment(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Check OpenTelemetry's variables.  Run the doctor in the environment of a server or worker for this."""
    off = [name for name, values in _SWITCHED_OFF if environment.get(name, "").strip().lower() in values]
    if off:
        yield Finding(
            "tracing",
            Severity.WARNING,
            f"tracing is switched off in this environment ({', '.join(off)})",
            "A process that is set like this makes no spans: its tasks cannot be followed.",
            f"Unset {' and '.join(off)} where traces are wanted.",
        )
    propagators = {each.strip() for each in environment.get("OTEL_PROPAGATORS", "").split(",") if each.strip()}
    missing = _PROPAGATORS - propagators
    if propagators and missing:
        yield Finding(
            "tracing",
            Severity.WARNING,
            f"OTEL_PROPAGATORS leaves out {' and '.join(sorted(missing))} in this environment",
            "A server that is set like this does not take these up from its requests, so there is nothing to carry.",
            "Set OTEL_PROPAGATORS=tracecontext,baggage, beside what else you need.",
        )
    if _is_wired(environment) and find_spec("opentelemetry.sdk") is None:
        yield Finding(
            "tracing",
            Severity.WARNING,
            "an exporter is configured in this environment, and the OpenTelemetry SDK is not installed",
            "Without it there is no tracer provider: no span is made.",
            "pip install 'taskctx[otlp]'",
        )


def _is_wired(environment: Mapping[str, str]) -> bool:
    """Whether an exporter is configured."""
    return any(environment.get(name) for name in _WIRED)


def _snapshots(docket: str, carriers: list[dict[str, str]], *, wired: bool) -> Finding:
    contexts = [span_context(carrier) for carrier in carriers]
    present = [context for context in contexts if context is not None]
    sampled = sum(context.trace_flags.sampled for context in present)
    of = f"of {counted(len(carriers), 'snapshot')} looked at"
    if len(present) == len(carriers) or not (present or wired):
        traced = f"{len(present):,} {of} hold a trace, {sampled:,} sampled" if present else f"none {of} holds a trace"
        return ok("tracing", traced, docket)
    return Finding(
        "tracing",
        Severity.WARNING,
        f"{len(carriers) - len(present):,} {of} hold no trace",
        "Their submitters have no tracer provider, or no current span: these tasks cannot be followed to their origin.",
        "Set up OpenTelemetry in every process that submits (opentelemetry-instrument, or a TracerProvider in code).",
        docket,
    )
