"""The tasks that the workers run: each reports what it sees of its caller.

Their arguments only identify the request; all other values must come with the context.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import cast

from docket import Docket, Perpetual, Retry
from docket.dependencies import current_docket, current_execution, current_worker
from opentelemetry import baggage, trace
from opentelemetry.trace import Link

import taskctx
from taskctx._caller.trace_context import span_context
from taskctx._worker.current_task import restored_task

from . import child
from .identity import digest
from .sighting import Context, Sighting

child.prepare()

tracer: trace.Tracer = trace.get_tracer("taskctx.demo")

BODY = "task body"
"""The name of the span around a task's own code."""

SOON = timedelta(milliseconds=20)

RETRY, PERPETUAL = Retry(attempts=3, delay=SOON), Perpetual(every=SOON)


async def report_once(number: int) -> None:
    await _report(number)


async def report_retried(number: int, failures: int, retry: Retry = RETRY) -> None:
    await _report(number)
    if retry.attempt <= failures:
        raise RuntimeError("on purpose: Docket is to try again")


async def report_perpetual(number: int, run: int, last_run: int, perpetual: Perpetual = PERPETUAL) -> None:
    await _report(number, run)
    if run == last_run:
        perpetual.cancel()
    else:
        perpetual.perpetuate(number, run + 1, last_run)


tasks: list[Callable[..., Awaitable[None]]] = [report_once, report_retried, report_perpetual]


def reports_key(docket: Docket) -> str:
    """The key of the Redis list with the reports of the tasks."""
    return docket.key("taskctx-demo:reports")


async def _report(number: int, run: int = 1) -> None:
    docket_span = trace.get_current_span()
    with tracer.start_as_current_span(BODY):
        sighting = Sighting(
            number=number,
            run=run,
            attempt=current_execution.get().attempt,
            worker=current_worker.get().name,
            context=see(docket_span),
        )
        docket = current_docket.get()
        async with docket.redis() as redis:
            await redis.rpush(reports_key(docket), sighting.model_dump_json())
            await redis.expire(reports_key(docket), timedelta(hours=1))


def see(docket_span: trace.Span) -> Context:
    """The caller's context, read with the public getters."""
    token = taskctx.get_access_token()
    task = taskctx.get_task_context()
    session_id = taskctx.get_task_session_id()
    # the restored trace context has no public getter, because only a demo needs one
    restored = restored_task.get()
    restored_origin = span_context(restored.snapshot.trace_context) if restored and restored.snapshot else None
    origin = trace.format_trace_id(restored_origin.trace_id) if restored_origin else None
    # only the SDK's spans have ``links``; the API's Span is write-only
    links = cast("tuple[Link, ...]", getattr(docket_span, "links", ()))
    return Context(
        token=digest(token.token) if token else None,
        client_id=token.client_id if token else None,
        subject=(token.claims or {}).get("sub") if token else None,
        oauth_scopes=token.scopes if token else [],
        task_scope=taskctx.get_task_scope(),
        task_id=task.task_id if task else None,
        headers=taskctx.get_http_headers(),
        request_id=taskctx.get_request_id(),
        session_id=session_id,
        baggage={name: str(value) for name, value in baggage.get_all().items()},
        origin_trace=origin,
        origin_linked=any(trace.format_trace_id(link.context.trace_id) == origin for link in links),
        live_session=getattr(taskctx.get_task_session(session_id), "id", None) if session_id else None,
        live_server=taskctx.get_task_server(task.task_id) is not None if task else False,
    )
