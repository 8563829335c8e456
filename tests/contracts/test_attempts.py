"""Every run of a task sees the caller who submitted it, and is linked to the submission."""

from __future__ import annotations

import pytest
from docket import Docket, Retry, Worker
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry

import taskctx
from tests.contracts.shapes import SHAPES, Shape, Stage, redelivered, shape_name
from tests.helpers import ADA, NOBODY, look

each_shape = pytest.mark.parametrize("shape", SHAPES, ids=shape_name)


def finished(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def runs_of(exporter: InMemorySpanExporter, key: str) -> list[ReadableSpan]:
    """Docket's spans of every time that a worker took a task up."""
    spans = exporter.get_finished_spans()
    return [s for s in spans if s.kind is SpanKind.CONSUMER and (s.attributes or {}).get("docket.key") == key]


def links(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


def ids(span: ReadableSpan) -> tuple[int, int]:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def parent_ids(span: ReadableSpan) -> tuple[int, int] | None:
    return None if span.parent is None else (span.parent.trace_id, span.parent.span_id)


@each_shape
async def test_every_run_sees_its_own_caller(docket: Docket, span_exporter: InMemorySpanExporter, shape: Shape) -> None:
    """Token, headers, ids, scope, baggage and the carried ContextVar: on the first run and on the last."""
    stage = Stage(docket, span_exporter)

    await shape(stage)

    assert stage.seen == [(task, stage.submitted[task].sight) for task, _ in stage.seen]
    assert len(stage.seen) == SHAPES[shape]
    assert {task for task, _ in stage.seen} == set(stage.submitted)


@each_shape
async def test_every_run_is_linked_to_the_submission(
    docket: Docket, span_exporter: InMemorySpanExporter, shape: Shape
) -> None:
    """Docket's own span of each run has one link into the submission's trace, and our restore in it one to the save."""
    stage = Stage(docket, span_exporter)

    await shape(stage)

    total = 0
    for key, save in stage.origins.items():
        runs = runs_of(span_exporter, key)
        total += len(runs)
        for run in runs:
            assert [trace_id for trace_id, _ in links(run)].count(ids(save)[0]) == 1
            [restore] = [s for s in finished(span_exporter, "taskctx.restore") if parent_ids(s) == ids(run)]
            assert links(restore) == [ids(save)]
    # those that had to wait for admission were taken up more often than they ran
    assert total >= SHAPES[shape]


@each_shape
async def test_the_submission_is_part_of_the_requests_trace(
    docket: Docket, span_exporter: InMemorySpanExporter, shape: Shape
) -> None:
    """What runs link to is in the trace of the request, or of the parent task, that submitted the task."""
    stage = Stage(docket, span_exporter)

    await shape(stage)

    submitters = {ids(span) for span in finished(span_exporter, "request") + finished(span_exporter, "parent")}
    assert {parent_ids(save) for save in stage.origins.values()} <= submitters


@each_shape
async def test_every_run_can_be_a_child_of_the_submission(
    docket: Docket, span_exporter: InMemorySpanExporter, registry: CollectorRegistry, shape: Shape
) -> None:
    """With ``trace_mode="parent"``, each run has a ``process`` span in the submission's trace, linked to Docket's."""
    # the fixture's registry is taken by the fixture's own configuration, which this one replaces
    taskctx.configure(registry=registry, trace_mode="parent")
    stage = Stage(docket, span_exporter)

    await shape(stage)

    processed = finished(span_exporter, "process task")
    for key, save in stage.origins.items():
        docket_runs = {ids(run) for run in runs_of(span_exporter, key)}
        for span in (span for span in processed if parent_ids(span) == ids(save)):
            assert span.kind is SpanKind.CONSUMER
            assert len(span.links) == 1
            assert set(links(span)) <= docket_runs
    # none but those: a body that ran, or waited for admission, is in the trace of its submission
    assert {parent_ids(span) for span in processed} == {ids(save) for save in stage.origins.values()}
    assert len(processed) >= SHAPES[shape]
    # and still, each sees its own caller
    assert stage.seen == [(task, stage.submitted[task].sight) for task, _ in stage.seen]


async def test_the_process_span_lasts_as_long_as_the_body(
    docket: Docket, worker: Worker, span_exporter: InMemorySpanExporter, registry: CollectorRegistry
) -> None:
    """With ``trace_mode="parent"``, what the body does is inside the span, and a failing body marks it."""
    taskctx.configure(registry=registry, trace_mode="parent")

    async def inner() -> None:
        """Submitted by the body."""

    async def task(retry: Retry = Retry(attempts=2)) -> None:
        await taskctx.add(docket, inner)()
        if retry.attempt == 1:
            raise RuntimeError("try again")

    with ADA.requesting():
        await taskctx.add(docket, task)()
    await worker.run_until_finished()

    failed, succeeded = finished(span_exporter, "process task")
    assert (failed.status.is_ok, succeeded.status.is_ok) == (False, True)
    [request] = finished(span_exporter, "request")
    save, *inner_saves = finished(span_exporter, "taskctx.save")
    assert {ids(span)[0] for span in (request, save, failed, succeeded, *inner_saves)} == {ids(request)[0]}
    assert [parent_ids(span) for span in inner_saves] == [ids(failed), ids(succeeded)]
    for span, within in zip((failed, succeeded), inner_saves, strict=True):
        moments = [span.start_time, within.start_time, within.end_time, span.end_time]
        assert moments == sorted(moment or 0 for moment in moments)


async def test_a_redelivered_run_is_told_apart(docket: Docket, span_exporter: InMemorySpanExporter) -> None:
    """The worker that takes over is given the same attempt again, and it is that attempt's context it restores."""
    stage = Stage(docket, span_exporter)

    await redelivered(stage)

    [execution] = stage.executions
    attempts = [(run.attributes or {})["docket.attempt"] for run in runs_of(span_exporter, execution.key)]
    restores = [(span.attributes or {})["docket.attempt"] for span in finished(span_exporter, "taskctx.restore")]
    assert attempts == restores == [1, 1]


async def test_a_task_without_a_caller_has_an_origin_all_the_same(
    docket: Docket, worker: Worker, span_exporter: InMemorySpanExporter
) -> None:
    """An anonymous task's span has a link to the save."""
    seen: list[object] = []

    async def task() -> None:
        seen.append(look())

    execution = await taskctx.add(docket, task)()
    await worker.run_until_finished()

    [save] = finished(span_exporter, "taskctx.save")
    [run] = runs_of(span_exporter, execution.key)
    assert [trace_id for trace_id, _ in links(run)] == [ids(save)[0]]
    assert seen == [NOBODY]
