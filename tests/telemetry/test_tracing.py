"""OpenTelemetry spans, asserted as trees."""

from __future__ import annotations

from typing import cast

import pytest
from docket import Docket, Worker
from docket.dependencies import current_docket
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry

import taskctx
from taskctx.operations import Capture, Operation, Restore, Run, Save
from taskctx.telemetry.names import Attribute
from taskctx.telemetry.observers import Observers
from taskctx.telemetry.tracing import TracingObserver
from tests import secrets
from tests.secrets import secret
from tests.telemetry import tree


async def report() -> None:
    with trace.get_tracer("test").start_as_current_span("body"):
        pass


async def submit_and_run(docket: Docket, worker: Worker) -> None:
    with (
        trace.get_tracer("test").start_as_current_span("POST /reports", kind=SpanKind.SERVER),
        taskctx.bind_caller(
            access_token=secrets.token(), headers=secrets.headers(), request_id="r", session_id=secret("session")
        ),
    ):
        await taskctx.add(docket, report, key="monthly")()
    await worker.run_until_finished()


def named(spans: tuple[ReadableSpan, ...], name: str) -> ReadableSpan:
    (found,) = [span for span in spans if span.name == name]
    return found


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


async def test_the_task_is_linked_to_its_submission(
    docket: Docket, worker: Worker, span_exporter: InMemorySpanExporter
) -> None:
    """The default: two traces; Docket links its span to the submission, and our restore is linked to the save."""
    await submit_and_run(docket, worker)
    assert tree(span_exporter.get_finished_spans()) == (
        "POST /reports SERVER\n"
        "    taskctx.capture INTERNAL\n"
        "    taskctx.save PRODUCER\n"
        "    docket.add INTERNAL\n"
        "report CONSUMER -> docket.add\n"
        "    taskctx.restore INTERNAL -> taskctx.save\n"
        "    body INTERNAL"
    )


async def test_a_span_in_the_submissions_trace_gets_no_link(
    docket: Docket, span_exporter: InMemorySpanExporter
) -> None:
    """As Docket's is with ``parent_task_spans``, from 0.29.1: here a restore is awaited below the submission itself."""
    tracer = trace.get_tracer("tests")
    with tracer.start_as_current_span("submission"):
        execution = await taskctx.add(docket, report)()
        with tracer.start_as_current_span("run"):
            token = current_docket.set(docket)
            await taskctx.restore_task_snapshot(execution.key)
            current_docket.reset(token)
    spans = {span.name: span for span in span_exporter.get_finished_spans()}
    assert [len(spans[name].links) for name in ("run", "taskctx.restore")] == [0, 0]


async def test_parent_mode_is_one_trace(
    docket: Docket, worker: Worker, span_exporter: InMemorySpanExporter, registry: CollectorRegistry
) -> None:
    """The body's span is a child of the save, and is linked to Docket's span of the run."""
    taskctx.configure(registry=registry, trace_mode="parent")
    await submit_and_run(docket, worker)
    assert tree(span_exporter.get_finished_spans()) == (
        "POST /reports SERVER\n"
        "    taskctx.capture INTERNAL\n"
        "    taskctx.save PRODUCER\n"
        "        process report CONSUMER -> report\n"
        "            body INTERNAL\n"
        "    docket.add INTERNAL\n"
        "report CONSUMER -> docket.add\n"
        "    taskctx.restore INTERNAL -> taskctx.save"
    )


async def test_a_body_that_fails_in_parent_mode(
    docket: Docket, worker: Worker, span_exporter: InMemorySpanExporter, registry: CollectorRegistry
) -> None:
    """Its span has the exception's type, and neither its text nor a traceback."""
    taskctx.configure(registry=registry, trace_mode="parent")

    async def failing() -> None:
        raise LookupError("a text")

    await taskctx.add(docket, failing)()
    await worker.run_until_finished()
    process = named(span_exporter.get_finished_spans(), "process failing")
    assert process.kind is SpanKind.CONSUMER
    assert attributes(process)["error.type"] == "LookupError"
    assert process.status.status_code is StatusCode.ERROR
    assert process.events == ()


async def test_without_tracing_there_are_dockets_spans_only(
    docket: Docket, worker: Worker, span_exporter: InMemorySpanExporter, registry: CollectorRegistry
) -> None:
    """The request's context is carried all the same."""
    taskctx.configure(registry=registry, tracing=False)
    await submit_and_run(docket, worker)
    assert tree(span_exporter.get_finished_spans()) == (
        "POST /reports SERVER\n    docket.add INTERNAL\nreport CONSUMER -> docket.add\n    body INTERNAL"
    )
    assert (
        registry.get_sample_value("taskctx_trace_contexts_total", {"docket_name": docket.name, "result": "continued"})
        == 1
    )


async def test_spans_that_are_not_sampled_are_not_exported(
    docket: Docket, worker: Worker, span_exporter: InMemorySpanExporter, registry: CollectorRegistry
) -> None:
    """Docket's own and the body's go on as before."""
    taskctx.configure(registry=registry, tracer_provider=TracerProvider(sampler=ALWAYS_OFF))
    await submit_and_run(docket, worker)
    spans = span_exporter.get_finished_spans()
    assert [span.name for span in spans if span.name.startswith("taskctx.")] == []
    assert {span.name for span in spans} == {"POST /reports", "docket.add", "report", "body"}
    assert (
        registry.get_sample_value("taskctx_trace_contexts_total", {"docket_name": docket.name, "result": "unsampled"})
        == 1
    )


async def test_a_request_that_is_not_sampled_leaves_the_task_its_own_decision(
    docket: Docket, worker: Worker, span_exporter: InMemorySpanExporter
) -> None:
    """In link mode the task's spans are recorded, although the submission's are not."""
    unsampled = TracerProvider(sampler=ALWAYS_OFF).get_tracer("server")
    with unsampled.start_as_current_span("POST /reports"):
        await taskctx.add(docket, report)()
    await worker.run_until_finished()
    assert tree(span_exporter.get_finished_spans()) == (
        "report CONSUMER\n    taskctx.restore INTERNAL\n    body INTERNAL"
    )


def test_which_operations_have_a_span(registry: CollectorRegistry) -> None:
    """A body has one in parent mode only."""
    observer = TracingObserver(TracerProvider())
    kinds = {Capture, Save, Restore, Run}

    def watched() -> set[type[Operation]]:
        watches = Observers([observer]).watches
        return {kind for kind in kinds if watches[kind].any}

    taskctx.configure(registry=registry, trace_mode="link")
    assert watched() == kinds - {Run}
    taskctx.configure(registry=registry, trace_mode="parent")
    assert watched() == kinds


async def test_a_batch_is_one_save(docket: Docket, worker: Worker, span_exporter: InMemorySpanExporter) -> None:
    """Its tasks all link to it."""
    await taskctx.add_many(docket, [docket.call(report)() for _ in range(2)])
    await worker.run_until_finished()
    spans = span_exporter.get_finished_spans()
    save = named(spans, "taskctx.save")
    assert attributes(save)[Attribute.MESSAGING_BATCH_COUNT] == 2
    restores = [span for span in spans if span.name == "taskctx.restore"]
    assert save.context is not None
    assert [[link.context.span_id for link in span.links] for span in restores] == [[save.context.span_id]] * 2


def trace_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return format(span.context.trace_id, "032x")


async def test_what_a_capture_says(docket: Docket, worker: Worker, span_exporter: InMemorySpanExporter) -> None:
    """Names, never values."""
    await submit_and_run(docket, worker)
    assert attributes(named(span_exporter.get_finished_spans(), "taskctx.capture")) == {
        "messaging.system": "docket",
        "messaging.operation.name": "create",
        "messaging.destination.name": docket.name,
        "docket.name": docket.name,
        "taskctx.fields": ("token", "headers", "session_id", "request_id", "trace"),
        "taskctx.outcome": "ok",
    }


async def test_what_a_save_says(docket: Docket, worker: Worker, span_exporter: InMemorySpanExporter) -> None:
    """Which task it is for, and how large it is."""
    await submit_and_run(docket, worker)
    save = named(span_exporter.get_finished_spans(), "taskctx.save")
    said = attributes(save)
    size = said.pop("taskctx.snapshot.size")
    assert isinstance(size, int)
    assert size > 200
    assert said.pop("taskctx.origin.trace_id") == trace_id(save)
    assert said == {
        "messaging.system": "docket",
        "messaging.operation.name": "send",
        "messaging.destination.name": docket.name,
        "docket.name": docket.name,
        "docket.task": "report",
        "taskctx.fields": ("token", "headers", "session_id", "request_id", "trace"),
        "taskctx.outcome": "ok",
    }


async def test_what_a_restore_says(docket: Docket, worker: Worker, span_exporter: InMemorySpanExporter) -> None:
    """How old the snapshot was, and what it had left."""
    await submit_and_run(docket, worker)
    spans = span_exporter.get_finished_spans()
    restore = named(spans, "taskctx.restore")
    said = attributes(restore)
    assert said.pop("taskctx.snapshot.size") == attributes(named(spans, "taskctx.save"))["taskctx.snapshot.size"]
    age, left = said.pop("taskctx.snapshot.age"), said.pop("taskctx.snapshot.ttl_remaining")
    assert isinstance(age, float)
    assert isinstance(left, int)
    assert 0 <= age < 60
    assert 86_400 - 60 < left <= 86_400
    assert said.pop("taskctx.origin.trace_id") == trace_id(named(spans, "taskctx.save")) != trace_id(restore)
    assert said == {
        "messaging.system": "docket",
        "messaging.operation.name": "receive",
        "messaging.destination.name": docket.name,
        "docket.name": docket.name,
        "docket.task": "report",
        "docket.attempt": 1,
        "taskctx.snapshot.schema_version": 1,
        "taskctx.fields": ("token", "headers", "session_id", "request_id", "trace"),
        "taskctx.outcome": "ok",
    }
    assert restore.status.status_code is StatusCode.UNSET


async def test_texts_are_plain_strings(
    docket: Docket, worker: Worker, span_exporter: InMemorySpanExporter, registry: CollectorRegistry
) -> None:
    """OpenTelemetry before 1.45 refuses lists of a subclass of str, with a warning for each."""
    taskctx.configure(registry=registry, trace_mode="parent")
    await submit_and_run(docket, worker)
    await docket.add(report, key=taskctx.build_task_key(None, "lost", "task", "report"))()
    await worker.run_until_finished()
    ours = [
        span
        for span in span_exporter.get_finished_spans()
        if span.instrumentation_scope and span.instrumentation_scope.name == "taskctx"
    ]
    assert {span.name for span in ours} == {"taskctx.capture", "taskctx.save", "taskctx.restore", "process report"}
    texts = [
        (name, type(item))
        for span in ours
        for name, value in attributes(span).items()
        for item in (cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,))
        if isinstance(item, str)
    ]
    assert len({name for name, _ in texts}) > 5
    assert [(name, kind) for name, kind in texts if kind is not str] == []


async def test_a_failed_restore_is_an_error(
    docket: Docket, worker: Worker, span_exporter: InMemorySpanExporter
) -> None:
    """The span's ``error.type`` is the reason, and the span has no text of the error."""
    await docket.add(report, key=taskctx.build_task_key(None, "lost", "task", "report"))()
    await worker.run_until_finished()
    spans = span_exporter.get_finished_spans()
    restore = named(spans, "taskctx.restore")
    assert attributes(restore)["taskctx.outcome"] == "failed"
    assert attributes(restore)["error.type"] == "missing"
    assert restore.status.status_code is StatusCode.ERROR
    assert restore.status.description is None
    assert restore.events == ()
    assert named(spans, "report").status.status_code is not StatusCode.ERROR


async def test_a_refused_save_is_an_error(
    docket: Docket, span_exporter: InMemorySpanExporter, registry: CollectorRegistry
) -> None:
    """The span's ``error.type`` is the reason, and the span has no text of the error."""
    taskctx.configure(registry=registry, max_snapshot_bytes=256)
    with taskctx.bind_caller(headers={"x-large": secret("x" * 256)}), pytest.raises(taskctx.SaveError):
        await taskctx.add(docket, report)()
    save = named(span_exporter.get_finished_spans(), "taskctx.save")
    assert attributes(save)["error.type"] == "too_large"
    assert save.status.status_code is StatusCode.ERROR
    assert save.events == ()


async def test_a_degraded_restore_is_no_error(
    docket: Docket, worker: Worker, span_exporter: InMemorySpanExporter
) -> None:
    """The task runs; the outcome says that something is missing."""
    with taskctx.bind_caller(access_token=secrets.token(expires_at=1)):
        await taskctx.add(docket, report)()
    await worker.run_until_finished()
    restore = named(span_exporter.get_finished_spans(), "taskctx.restore")
    assert attributes(restore)["taskctx.outcome"] == "degraded"
    assert restore.status.status_code is StatusCode.UNSET


async def test_a_tracestate_goes_on(docket: Docket, worker: Worker, span_exporter: InMemorySpanExporter) -> None:
    """The link to the origin has it."""
    parent = trace.SpanContext(
        0x0AF7651916CD43DD8448EB211C80319C,
        0xB7AD6B7169203331,
        is_remote=True,
        trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED),
        trace_state=trace.TraceState([("vendor", "1")]),
    )
    with trace.use_span(trace.NonRecordingSpan(parent)):
        await taskctx.add(docket, report)()
    await worker.run_until_finished()
    (link,) = named(span_exporter.get_finished_spans(), "taskctx.restore").links
    assert link.context.trace_id == parent.trace_id
    assert link.context.trace_state.get("vendor") == "1"
