"""What workers do, each time as the caller who asked.

The task's id is the report's, and the scope in the task's key is its owner's: neither can be lost.  The token, the
request id and the headers come with the context; a task that cannot do without the token says so.
"""

# ruff: noqa: B008 - calls in defaults are how Docket's dependencies are declared
from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
from docket import CurrentDocket, Docket, Perpetual, Retry
from opentelemetry import propagate

import taskctx

from .settings import Settings
from .store import Kind, Reports, Status

logger = logging.getLogger(__name__)


class CallerUnknownError(Exception):
    """The task needs its caller's token, and has none: the context was lost, or the token expired in the queue."""


class SourceUnavailableError(Exception):
    """Where the data comes from does not answer; it may later."""


async def make_summary(docket: Docket = CurrentDocket()) -> None:
    """Made at once."""
    async with _making(docket):
        pass


async def make_digest(docket: Docket = CurrentDocket()) -> None:
    """Scheduled ahead: by now the request is long over."""
    async with _making(docket) as lines:
        lines.append("made when it was due")


async def make_account(docket: Docket = CurrentDocket()) -> None:
    """Asks another service, as the caller: with their token, their request id and their trace."""
    async with _making(docket) as lines:
        token = taskctx.get_access_token()
        if token is None:
            raise CallerUnknownError
        headers = {"authorization": f"Bearer {token.token}", "x-request-id": taskctx.get_request_id() or ""}
        propagate.inject(headers)
        async with httpx.AsyncClient(base_url=Settings().account_url, timeout=10) as client:
            answer = (await client.get("/internal/account", headers=headers)).raise_for_status().json()
        lines.append(f"account: {answer['subject']} (request {answer['request_id']})")


async def make_market(
    docket: Docket = CurrentDocket(), retry: Retry = Retry(attempts=4, delay=timedelta(seconds=1))
) -> None:
    """Retried: the caller is the same on each attempt."""
    async with _making(docket, may_be_tried_again=retry.attempt != retry.attempts) as lines:
        lines.append(f"prices: {await _prices(retry.attempt)} (attempt {retry.attempt})")


async def clean_up(docket: Docket = CurrentDocket(), perpetual: Perpetual = Perpetual()) -> None:
    """Again and again, as the service itself: the API started it, and that is still who it is on the hundredth run."""
    settings = Settings()
    perpetual.after(timedelta(seconds=settings.clean_up_every))
    removed = await Reports(docket).remove_older_than(settings.keep)
    logger.info("%s removed %d reports", taskctx.get_task_scope(), removed)


MAKERS: dict[Kind, Callable[[], Awaitable[None]]] = {
    Kind.SUMMARY: make_summary,
    Kind.DIGEST: make_digest,
    Kind.ACCOUNT: make_account,
    Kind.MARKET: make_market,
}

tasks: list[Callable[..., Awaitable[Any]]] = [*MAKERS.values(), clean_up]


@asynccontextmanager
async def _making(docket: Docket, *, may_be_tried_again: bool = False) -> AsyncGenerator[list[str]]:
    """The lines of the report that the current task makes; it is ready when the block ends well."""
    task = taskctx.get_task_context()
    if task is None or task.task_scope is None:
        raise CallerUnknownError
    reports = Reports(docket)
    lines = [
        f"for: {task.task_scope}",
        f"request: {taskctx.get_request_id()}",
        f"tenant: {taskctx.get_http_headers().get('x-tenant')}",
    ]
    try:
        yield lines
    except Exception:
        if not may_be_tried_again:
            await reports.conclude(task.task_scope, task.task_id, Status.FAILED)
        raise
    await reports.conclude(task.task_scope, task.task_id, Status.READY, "\n".join(lines) + "\n")
    logger.info("report is ready")


async def _prices(attempt: int) -> str:
    """Stands for a source that seldom answers the first time."""
    if attempt == 1:
        raise SourceUnavailableError
    return "1, 2, 3"
