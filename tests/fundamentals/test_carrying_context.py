"""What taskctx is for, in the order in which one meets it.  Reads as a tutorial."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from docket import Docket, Worker
from opentelemetry import baggage, context

import taskctx
from tests import secrets


async def test_a_task_sees_the_caller_who_submitted_it(docket: Docket, worker: Worker) -> None:
    """The same getters answer in the handler and in the task."""
    seen: list[object] = []

    async def report() -> None:
        seen.extend((taskctx.get_access_token(), taskctx.get_http_headers(), taskctx.get_request_id()))

    with taskctx.bind_caller(access_token=secrets.token(), headers={"X-Tenant": "acme"}, request_id="request-1"):
        await taskctx.add(docket, report)()
    await worker.run_until_finished()

    assert seen == [secrets.token(), {"x-tenant": "acme"}, "request-1"]


async def test_a_task_knows_its_own_id_and_the_scope_that_owns_it(docket: Docket, worker: Worker) -> None:
    """The caller's own key is the task id; the scope comes from the token."""
    seen: list[taskctx.TaskContextInfo | None] = []

    async def report() -> None:
        seen.append(taskctx.get_task_context())

    with taskctx.bind_caller(access_token=secrets.token("reports-app", sub="ada")):
        await taskctx.add(docket, report, key="monthly")()
    await worker.run_until_finished()

    assert seen == [taskctx.TaskContextInfo("monthly", "reports-app|ada")]


async def test_an_anonymous_caller_stays_anonymous(docket: Docket, worker: Worker) -> None:
    """A task submitted by an anonymous caller runs anonymous, even if a caller is bound around the worker."""
    seen: list[object] = []

    async def report() -> None:
        seen.extend((taskctx.get_access_token(), taskctx.get_http_headers(), taskctx.get_task_scope()))

    await taskctx.add(docket, report)()
    with taskctx.bind_caller(access_token=secrets.token(), headers={"X-Tenant": "acme"}):
        await worker.run_until_finished()

    assert seen == [None, {}, None]


async def test_baggage_comes_along(docket: Docket, worker: Worker) -> None:
    """W3C baggage of the request is the baggage of the task."""
    seen: list[object] = []

    async def report() -> None:
        seen.append(baggage.get_baggage("tenant"))

    token = context.attach(baggage.set_baggage("tenant", "acme"))
    await taskctx.add(docket, report, when=datetime.now(UTC) + timedelta(milliseconds=50))()
    context.detach(token)
    await worker.run_until_finished()

    assert seen == ["acme"]


async def test_a_task_that_submits_a_task_carries_the_same_caller_on(docket: Docket, worker: Worker) -> None:
    """The child's context is the parent's, and so the caller's."""
    seen: list[object] = []

    async def child() -> None:
        seen.append(taskctx.get_access_token())

    async def parent(docket: Docket = docket) -> None:
        await taskctx.add(docket, child)()

    with taskctx.bind_caller(access_token=secrets.token()):
        await taskctx.add(docket, parent)()
    await worker.run_until_finished()

    assert seen == [secrets.token()]
