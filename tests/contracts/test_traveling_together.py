"""Tasks that are added at the same time travel together, and each has what it would have alone."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from docket import Docket
from docket.dependencies import current_execution
from docket.execution import Disposition, Execution, TaskCall
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from prometheus_client import CollectorRegistry

import taskctx
from taskctx._submit.scheduling import scheduler_of
from tests.conftest import BACKEND, make_worker, our_keys, running_valkey
from tests.helpers import Caller, wait_until

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="memory:// answers at once, so that nothing ever waits")

AT_A_TIME = 50
UNPICKLABLE = threading.Lock()


@dataclass
class Seen:
    """What each task saw of its caller, by its number."""

    scopes: dict[int, str | None] = field(default_factory=dict[int, str | None])
    traces: dict[int, int | None] = field(default_factory=dict[int, int | None])

    async def task(self, number: int, _argument: object = None) -> None:
        origin = current_execution.get().trace_context
        span = None if origin is None else trace.get_current_span(origin).get_span_context()
        self.scopes[number] = taskctx.get_task_scope()
        self.traces[number] = None if span is None or not span.is_valid else span.trace_id


@dataclass
class Batches:
    """Counts the tasks of each of a docket's own batches."""

    sizes: list[int] = field(default_factory=list[int])
    before: Callable[[], object] = lambda: None

    def watch(self, docket: Docket, monkeypatch: pytest.MonkeyPatch) -> None:
        add_many = docket.add_many

        async def counted(calls: list[TaskCall], *, chunk_size: int | None = 1000) -> list[Execution]:
            self.sizes.append(len(calls))
            self.before()
            return await add_many(calls, chunk_size=chunk_size)

        monkeypatch.setattr(docket, "add_many", counted)


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def batches(docket: Docket, monkeypatch: pytest.MonkeyPatch) -> Batches:
    batches = Batches()
    batches.watch(docket, monkeypatch)
    return batches


Journeys = list[object]
"""One for each time that a docket's client is taken to send something."""


@pytest.fixture
def journeys(docket: Docket, monkeypatch: pytest.MonkeyPatch) -> Journeys:
    journeys, redis = Journeys(), docket.redis

    def counted() -> Any:
        journeys.append(None)
        return redis()

    monkeypatch.setattr(docket, "redis", counted)
    return journeys


@contextmanager
def unsampled(number: int) -> Generator[None]:
    """Inside of a trace of its own that is not recorded, as most requests are where traces are sampled."""
    span = NonRecordingSpan(SpanContext(number + 1, number + 1, is_remote=True, trace_flags=TraceFlags(0)))
    token = context.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        context.detach(token)


async def submit(
    docket: Docket, task: Callable[..., Awaitable[None]], number: int, *arguments: Any, **options: Any
) -> Execution:
    """One of many submitters, each with a caller and a trace of its own."""
    with unsampled(number), Caller(f"caller-{number}", f"request-{number}").bound():
        return await taskctx.add(docket, task, **options)(number, *arguments)


async def submit_all(
    docket: Docket, task: Callable[..., Awaitable[None]], **options: Any
) -> list[Execution | BaseException]:
    numbers = range(AT_A_TIME)
    return await asyncio.gather(*(submit(docket, task, each, **options) for each in numbers), return_exceptions=True)


async def test_each_task_has_its_own_caller_and_trace(docket: Docket, batches: Batches, seen: Seen) -> None:
    """Nearly all tasks travel in batches, and each message of a batch has its own submitter's trace context."""
    docket.register(seen.task)
    executions = await submit_all(docket, seen.task)
    assert [each.disposition for each in executions if isinstance(each, Execution)] == [
        Disposition.SCHEDULED
    ] * AT_A_TIME
    assert sum(batches.sizes) >= AT_A_TIME - 2
    async with make_worker(docket) as worker:
        await worker.run_until_finished()
    assert seen.scopes == {number: f"caller-{number}|me" for number in range(AT_A_TIME)}
    assert seen.traces == {number: number + 1 for number in range(AT_A_TIME)}


async def test_one_bad_task_is_its_own_submitters(docket: Docket, batches: Batches, seen: Seen) -> None:
    """Its error is raised where it was submitted, and its snapshot is gone; the others are scheduled."""
    docket.register(seen.task)
    answers = await asyncio.gather(
        *(submit(docket, seen.task, each, UNPICKLABLE if each == 7 else None) for each in range(AT_A_TIME)),
        return_exceptions=True,
    )
    assert batches.sizes
    assert isinstance(answers.pop(7), TypeError)
    assert {each.disposition for each in answers if isinstance(each, Execution)} == {Disposition.SCHEDULED}
    assert len(await our_keys(docket)) == AT_A_TIME - 1
    async with make_worker(docket) as worker:
        await worker.run_until_finished()
    assert sorted(seen.scopes) == [number for number in range(AT_A_TIME) if number != 7]


async def test_a_struck_task_leaves_nothing(docket: Docket, batches: Batches, seen: Seen) -> None:
    """Docket's answer is each task's own."""
    docket.register(seen.task)
    await docket.strike("task", "number", "==", 7)
    executions = await submit_all(docket, seen.task)
    dispositions = [each.disposition for each in executions if isinstance(each, Execution)]
    assert batches.sizes
    assert dispositions.pop(7) is Disposition.STRUCK
    assert dispositions == [Disposition.SCHEDULED] * (AT_A_TIME - 1)
    assert len(await our_keys(docket)) == AT_A_TIME - 1


async def test_duplicates_defer_to_the_first(docket: Docket, batches: Batches, seen: Seen) -> None:
    """One of those with the same key in one scope is scheduled; its snapshot stays in force."""
    docket.register(seen.task)
    caller = Caller("ada", "request")

    async def submit_same(number: int) -> Execution:
        with unsampled(number), caller.bound():
            return await taskctx.add(docket, seen.task, key=f"{number % 5}")(number)

    executions = await asyncio.gather(*(submit_same(number) for number in range(AT_A_TIME)))
    scheduled = [each for each in executions if each.disposition is Disposition.SCHEDULED]
    assert batches.sizes
    assert sorted(each.key.split(":")[2] for each in scheduled) == ["0", "1", "2", "3", "4"]
    assert len(await our_keys(docket)) == 5


async def test_a_duplicate_that_travels_along_leaves_the_first_its_trace(docket: Docket, seen: Seen) -> None:
    """Neither has a snapshot that would have kept them apart; the task that is scheduled is in its own submitter's trace."""
    docket.register(seen.task)

    async def add(number: int, key: str) -> Execution:
        with unsampled(number):
            return await scheduler_of(docket).add(docket.call(seen.task, key=key)(number))

    executions = await asyncio.gather(add(0, "alone"), add(1, "twice"), add(2, "twice"))
    assert [each.disposition for each in executions] == [
        Disposition.SCHEDULED,
        Disposition.SCHEDULED,
        Disposition.ALREADY_SCHEDULED,
    ]
    async with make_worker(docket) as worker:
        await worker.run_until_finished()
    assert seen.traces == {0: 1, 1: 2}


async def test_a_cancelled_submitter_leaves_the_others_alone(docket: Docket, batches: Batches, seen: Seen) -> None:
    """Its own task is there with its snapshot, or neither is."""
    docket.register(seen.task)
    submitters = [asyncio.create_task(submit(docket, seen.task, each, key=f"{each}")) for each in range(AT_A_TIME)]
    await wait_until(lambda: batches.sizes)
    for submitter in submitters[::3]:
        submitter.cancel()
    answers = await asyncio.gather(*submitters, return_exceptions=True)
    left = {number for number, answer in enumerate(answers) if isinstance(answer, asyncio.CancelledError)}
    scheduled = {int(execution.key.split(":")[2]) for execution in (await docket.snapshot()).future} | {
        int(key.split(":")[2]) for key in await queued(docket)
    }
    snapshots = {int(key.split(":")[-2]) for key in await our_keys(docket)}
    assert scheduled >= set(range(AT_A_TIME)) - left
    assert snapshots == scheduled
    async with make_worker(docket) as worker:
        await worker.run_until_finished()
    assert seen.scopes == {number: f"caller-{number}|me" for number in scheduled}


class _Server:
    """A live object, which a task in this process finds."""


async def test_a_cancelled_submitters_task_finds_its_server(docket: Docket, batches: Batches, seen: Seen) -> None:
    """The task was on its way and is scheduled, so it has all that it would have had otherwise."""
    docket.register(seen.task)
    server = _Server()

    async def submit_from_server(number: int) -> Execution:
        with taskctx.bind_caller(server=server):
            return await submit(docket, seen.task, number, key=f"{number}")

    submitters = [asyncio.create_task(submit_from_server(number)) for number in range(AT_A_TIME)]
    batches.before = lambda: [submitter.cancel() for submitter in submitters]
    answers = await asyncio.gather(*submitters, return_exceptions=True)
    scheduled = {key.split(":")[2] for key in await queued(docket)}
    assert scheduled > {f"{number}" for number, answer in enumerate(answers) if isinstance(answer, Execution)}
    found = {f"{number}" for number in range(AT_A_TIME) if taskctx.get_task_server(f"{number}") is server}
    assert found == scheduled


async def test_a_batch_of_keys_that_have_run_travels_together(docket: Docket, seen: Seen, journeys: Journeys) -> None:
    """The earlier runs' snapshots are looked at, replaced and given their new life together, not one after the other."""
    await add_as_a_batch(docket, seen)
    async with make_worker(docket) as worker:
        await worker.run_until_finished()
    journeys.clear()
    again = await add_as_a_batch(docket, seen)
    assert {each.disposition for each in again} == {Disposition.SCHEDULED}
    assert len(journeys) < AT_A_TIME / 2


async def test_a_batch_that_goes_on_without_its_context_travels_together(
    docket: Docket, seen: Seen, journeys: Journeys, registry: CollectorRegistry
) -> None:
    """What might stand under the keys is looked for together."""
    taskctx.configure(registry=registry, on_save_failure="continue", max_snapshot_bytes=256)
    added = await add_as_a_batch(docket, seen)
    assert {each.disposition for each in added} == {Disposition.SCHEDULED}
    assert await our_keys(docket) == []
    assert len(journeys) < AT_A_TIME / 2


async def add_as_a_batch(docket: Docket, seen: Seen) -> list[Execution]:
    calls = [docket.call(seen.task, key=f"{number}")(number) for number in range(AT_A_TIME)]
    with Caller("ada", "request").bound():
        return await taskctx.add_many(docket, calls)


async def queued(docket: Docket) -> list[str]:
    async with docket.redis() as redis:
        entries = await redis.xrange(docket.stream_key)
    return [fields[b"key"].decode() for _, fields in entries]


async def test_recorded_submitters_keep_their_own_span(
    docket: Docket, batches: Batches, seen: Seen, span_exporter: InMemorySpanExporter
) -> None:
    """Docket's span of each submission is a child of the submitter's."""
    docket.register(seen.task)
    tracer = trace.get_tracer("test")

    async def submit_recorded(number: int) -> int:
        with tracer.start_as_current_span("request") as span:
            await taskctx.add(docket, seen.task)(number)
            return span.get_span_context().trace_id

    traces = await asyncio.gather(*(submit_recorded(number) for number in range(AT_A_TIME)))
    spans = [span for span in span_exporter.get_finished_spans() if span.name == "docket.add"]
    assert not batches.sizes
    assert sorted(span.context.trace_id for span in spans if span.context) == sorted(traces)


async def test_a_batch_begins_no_trace_of_its_own(
    docket: Docket, batches: Batches, seen: Seen, span_exporter: InMemorySpanExporter
) -> None:
    """Docket's span of it is not recorded, as those of its submitters are not."""
    docket.register(seen.task)
    await submit_all(docket, seen.task)
    assert batches.sizes
    assert [span.name for span in span_exporter.get_finished_spans()] == []


async def test_without_a_span_a_submission_begins_a_trace(
    docket: Docket, batches: Batches, seen: Seen, span_exporter: InMemorySpanExporter
) -> None:
    """Docket's span is a child of its save, in that trace."""
    docket.register(seen.task)
    await asyncio.gather(*(taskctx.add(docket, seen.task)(number) for number in range(AT_A_TIME)))
    spans = span_exporter.get_finished_spans()
    saves = {span.context.span_id for span in spans if span.name == "taskctx.save" and span.context}
    assert not batches.sizes
    assert {span.parent and span.parent.span_id for span in spans if span.name == "docket.add"} == saves
    assert len(saves) == AT_A_TIME


async def test_a_trace_that_is_not_recorded_travels_with_others(
    docket: Docket, batches: Batches, seen: Seen, span_exporter: InMemorySpanExporter, registry: CollectorRegistry
) -> None:
    """Where the sampler leaves out the one that a submission began, Docket's span of it is left out too."""
    taskctx.configure(registry=registry, tracer_provider=TracerProvider(sampler=ParentBased(ALWAYS_OFF)))
    docket.register(seen.task)
    await asyncio.gather(*(taskctx.add(docket, seen.task)(number) for number in range(AT_A_TIME)))
    assert batches.sizes
    assert [span.name for span in span_exporter.get_finished_spans()] == []
    async with make_worker(docket) as worker:
        await worker.run_until_finished()
    assert len(set(seen.traces.values()) - {None}) == AT_A_TIME


async def test_where_taskctx_makes_no_spans_docket_decides(
    docket: Docket, batches: Batches, seen: Seen, span_exporter: InMemorySpanExporter, registry: CollectorRegistry
) -> None:
    """Its span of each submission begins a trace, as without taskctx."""
    taskctx.configure(registry=registry, tracing=False)
    docket.register(seen.task)
    await asyncio.gather(*(taskctx.add(docket, seen.task)(number) for number in range(AT_A_TIME)))
    assert not batches.sizes
    assert [span.name for span in span_exporter.get_finished_spans()] == ["docket.add"] * AT_A_TIME


async def test_a_burst_needs_few_connections(docket: Docket, seen: Seen) -> None:
    """A thousand adds are under way on at most ten."""
    docket.register(seen.task)
    before = await connections(docket)
    await asyncio.gather(*(submit(docket, seen.task, number) for number in range(1_000)))
    assert await connections(docket) - before <= 10


async def connections(docket: Docket) -> int:
    async with docket.redis() as redis:
        return (await redis.info("stats"))["total_connections_received"]


async def test_a_server_that_goes_away_fails_each_submission(seen: Seen, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server goes away during a batch, each submission gets an error, and none waits without end."""
    taskctx.configure(backend_timeout=1.0)
    with running_valkey() as server:
        async with Docket(name="gone", url=server.connection_url) as docket:
            docket.register(seen.task)
            batches = Batches(before=server.stop)
            batches.watch(docket, monkeypatch)
            answers = await submit_all(docket, seen.task)
    scheduled = [each for each in answers if isinstance(each, Execution)]
    failed = [each for each in answers if isinstance(each, Exception)]
    assert batches.sizes
    assert len(scheduled) <= 2
    assert len(scheduled) + len(failed) == AT_A_TIME


async def test_a_docket_that_closes_fails_each_submission(seen: Seen, valkey: Any) -> None:
    """Those that were waiting get an error."""
    async with Docket(name="closing", url=valkey.connection_url) as docket:
        docket.register(seen.task)
        submitters = [asyncio.create_task(submit(docket, seen.task, each)) for each in range(AT_A_TIME)]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*submitters, return_exceptions=True)
    assert all(isinstance(each, Execution | Exception) for each in answers)
    assert [each for each in answers if isinstance(each, Exception)]
