"""Log records that say which task and request they are of."""

from __future__ import annotations

import io
import logging
import logging.handlers
import queue
from collections.abc import Iterator

import pytest
import structlog
from docket import Docket, Worker
from opentelemetry import trace

import taskctx
from taskctx.logs import TaskContextFilter, add_task_context
from tests.helpers import handling


@pytest.fixture
def log() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger set up as the documentation shows, and what it prints."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(task_id)s %(request_id)s %(trace_id)s %(message)s"))
    handler.addFilter(TaskContextFilter())
    with handling(handler, "test_logs") as logger:
        yield logger, out


async def test_lines_of_a_task_name_it(docket: Docket, worker: Worker, log: tuple[logging.Logger, io.StringIO]) -> None:
    """Its id, the request it comes from, and the trace it runs in."""
    logger, out = log
    traces: list[str] = []

    async def report() -> None:
        traces.append(format(trace.get_current_span().get_span_context().trace_id, "032x"))
        logger.warning("working")

    with taskctx.bind_caller(request_id="request-1"):
        await taskctx.add(docket, report, key="monthly")()
    await worker.run_until_finished()

    assert out.getvalue() == f"monthly request-1 {traces[0]} working\n"


def test_lines_of_nothing_have_none(log: tuple[logging.Logger, io.StringIO]) -> None:
    """A format that names the ids works everywhere."""
    logger, out = log
    logger.warning("starting")
    with taskctx.bind_caller(request_id="request-1"):
        logger.warning("handling")
    assert out.getvalue() == "None None None starting\nNone request-1 None handling\n"


def test_ids_that_a_record_has_stay(log: tuple[logging.Logger, io.StringIO]) -> None:
    """A value of the line's own, None among them, is never overwritten; the other ids are added."""
    logger, out = log
    with taskctx.bind_caller(request_id="request-1"):
        logger.warning("handling", extra={"request_id": "request-0", "task_id": "daily"})
        logger.warning("handling", extra={"request_id": None})
    assert out.getvalue() == "daily request-0 None handling\nNone None None handling\n"


def test_a_second_filter_behind_a_queue_wipes_nothing(log: tuple[logging.Logger, io.StringIO]) -> None:
    """What the filter before the queue found stays, where the thread behind it knows of no request."""
    logger, out = log
    (printing,) = logger.handlers
    records: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    queueing = logging.handlers.QueueHandler(records)
    queueing.addFilter(TaskContextFilter())
    behind = logging.handlers.QueueListener(records, printing)
    elsewhere = logging.Logger("elsewhere")  # noqa: LOG001 - one that is gone with the test
    elsewhere.addHandler(queueing)
    behind.start()
    with taskctx.bind_caller(request_id="request-1"):
        elsewhere.warning("handling")
    behind.stop()
    assert out.getvalue() == "None request-1 None handling\n"


async def test_structlogs_events_name_the_task(docket: Docket, worker: Worker) -> None:
    """Only the ids that there are, and never over the event's own."""
    capture = structlog.testing.LogCapture()
    logger = structlog.wrap_logger(None, processors=[add_task_context, capture])

    async def report() -> None:
        logger.info("working")
        logger.info("working", request_id="my own")

    logger.info("starting")
    with taskctx.bind_caller(request_id="request-1"):
        logger.info("handling")
        await taskctx.add(docket, report, key="monthly")()
    await worker.run_until_finished()

    starting, handling, working, own = capture.entries
    assert starting == {"event": "starting", "log_level": "info"}
    assert handling == {"event": "handling", "log_level": "info", "request_id": "request-1"}
    assert len(working.pop("trace_id")) == 32
    assert working == {"event": "working", "log_level": "info", "request_id": "request-1", "task_id": "monthly"}
    assert own["request_id"] == "my own"
