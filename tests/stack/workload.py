"""The tasks that the check's workers run.  ``docket worker`` imports it; so do the processes that submit them."""

from __future__ import annotations

import os
from datetime import timedelta

from docket import Retry

import taskctx
from tests.stack import child


async def summarize() -> None:
    """Look for what lives in the submitter's process: here it is a miss, unless this is that process."""
    _look_up()


async def flaky(retry: Retry = Retry(attempts=3, delay=timedelta(milliseconds=200))) -> None:
    """Succeed at the third attempt."""
    if retry.attempt < 3:
        raise RuntimeError("not yet")


async def charge() -> None:
    """Needs a token that is still good when the task runs."""
    taskctx.get_access_token()


async def deliver() -> None:
    """The one whose snapshots get lost and damaged."""
    taskctx.get_http_headers()


async def push() -> None:
    """Talk to the client's live session."""
    _look_up()


def _look_up() -> None:
    session_id, task = taskctx.get_task_session_id(), taskctx.get_task_context()
    if session_id is not None:
        taskctx.get_task_session(session_id)
    if task is not None:
        taskctx.get_task_server(task.task_id)


collection = [summarize, flaky, charge, deliver, push]

if child.SPANS in os.environ:
    child.export_spans()
