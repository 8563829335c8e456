"""A task never runs as its caller without a carried value that is required."""

from __future__ import annotations

import json
import traceback
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from docket import Docket
from docket.execution import Execution
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

import taskctx
from taskctx import CaptureError, Reason, RestoreError
from taskctx._caller.carried import stop_carrying
from tests.conftest import our_keys
from tests.contracts.outcomes import counted, failure_of, failures, our_lines, restore_span, restores, work
from tests.helpers import ADA, NOBODY, Sight, look, stored
from tests.secrets import MARKER, secret

Mode = Literal["continue", "fail"]
Submit = Callable[[Docket, Callable[..., Awaitable[None]]], Awaitable[object]]

each_mode = pytest.mark.parametrize("mode", ["continue", "fail"])


@dataclass(frozen=True)
class Tenant:
    id: str


@dataclass(frozen=True)
class RegionalTenant:
    """As :class:`Tenant`, in a deploy that gave it one more field."""

    id: str
    region: str


TENANT: ContextVar[Any] = ContextVar("tenant", default=None)
ACME = Tenant(secret("acme"))


@pytest.fixture(autouse=True)
def carries_nothing_else() -> Iterator[None]:
    yield
    stop_carrying(TENANT.name)


def carry(kind: Any = Tenant, *, required: bool = True) -> None:
    """What the process carries from now on, as another version of the code has it."""
    taskctx.carry(TENANT, type=kind, required=required)


def carry_nothing() -> None:
    stop_carrying(TENANT.name)


@contextmanager
def tenant(value: object) -> Generator[None]:
    token = TENANT.set(value)
    try:
        yield
    finally:
        TENANT.reset(token)


SKEWS: dict[str, tuple[Callable[[], None], Callable[[], None]]] = {
    "the submitter does not carry it": (carry_nothing, carry),
    "the worker does not carry it": (carry, carry_nothing),
    "the worker's type has one more field": (carry, lambda: carry(RegionalTenant)),
    "of another type, required by the submitter alone": (carry, lambda: carry(RegionalTenant, required=False)),
    "of another type, required by the worker alone": (lambda: carry(required=False), lambda: carry(RegionalTenant)),
}
"""What submitters and workers carry."""


@each_mode
@pytest.mark.parametrize("skew", SKEWS.values(), ids=SKEWS)
async def test_a_required_value_that_is_lost_fails_the_restore(
    docket: Docket,
    registry: CollectorRegistry,
    span_exporter: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
    *,
    mode: Mode,
    skew: tuple[Callable[[], None], Callable[[], None]],
) -> None:
    """With one reason everywhere, and as the failure contract has it: anonymous, or not at all; never without it."""
    taskctx.configure(registry=registry, on_restore_failure=mode)
    seen: list[tuple[Sight, object]] = []

    async def task() -> None:
        seen.append((look(), TENANT.get()))

    submitting, working = skew
    submitting()
    with ADA.requesting(), tenant(ACME):
        execution = await taskctx.add(docket, task)()
    working()
    await work(docket)

    assert seen == ([(NOBODY, None)] if mode == "continue" else [])
    assert restores(registry, docket) == {"failed": 1}
    assert failures(registry, docket) == {"carried_required": 1}
    assert (restore_span(span_exporter).attributes or {})["error.type"] == "carried_required"
    [(level, reason, _)] = our_lines(caplog)
    assert (level, reason) == ("WARNING" if mode == "continue" else "ERROR", "carried_required")
    if mode == "fail":
        group = await failure_of(execution)
        [error] = group.exceptions
        assert isinstance(error, RestoreError)
        assert error.reason is Reason.CARRIED_REQUIRED
        assert MARKER not in "".join(traceback.format_exception(group))


@pytest.mark.parametrize(
    ("submitting", "working"),
    [(True, True), (True, False), (False, True)],
    ids=["by both", "by the submitter alone", "by the worker alone"],
)
async def test_a_required_value_that_is_there_is_restored(
    docket: Docket, registry: CollectorRegistry, *, submitting: bool, working: bool
) -> None:
    """The value is restored, whether the submitter, the worker or both require it."""
    taskctx.configure(registry=registry, on_restore_failure="fail")
    seen: list[tuple[Sight, object]] = []

    async def task() -> None:
        seen.append((look(), TENANT.get()))

    carry(required=submitting)
    with ADA.requesting(), tenant(ACME):
        await taskctx.add(docket, task)()
    carry(required=working)
    await work(docket)

    [(sight, value)] = seen
    assert (sight.token, value) == (ADA.token, ACME)
    assert restores(registry, docket) == {"ok": 1}


async def test_the_default_of_a_required_variable_is_a_value(docket: Docket, registry: CollectorRegistry) -> None:
    """It travels, since the worker's default may be another."""
    region: ContextVar[str] = ContextVar("region", default="eu")
    taskctx.carry(region, type=str, required=True)
    try:
        execution = await taskctx.add(docket, nothing)()
        assert json.loads(await stored(docket, execution) or b"")["carried"] == {"region": "eu"}
        await work(docket)
    finally:
        stop_carrying(region.name)
    assert restores(registry, docket) == {"ok": 1}


async def nothing() -> None:
    """Does nothing."""


async def add(docket: Docket, task: Callable[..., Awaitable[None]]) -> object:
    return await taskctx.add(docket, task)()


async def replace(docket: Docket, task: Callable[..., Awaitable[None]]) -> object:
    return await taskctx.replace(docket, task, datetime.now(UTC) + timedelta(hours=1), "1")()


async def add_many(docket: Docket, task: Callable[..., Awaitable[None]]) -> object:
    return await taskctx.add_many(docket, [docket.call(task)() for _ in range(3)])


@pytest.mark.parametrize(("submit", "tasks"), [(add, 1), (replace, 1), (add_many, 3)])
@pytest.mark.parametrize("kind", [Tenant, Tenant | None, Any], ids=["not None", "or None", "anything"])
async def test_a_required_value_that_is_none_is_refused_at_submission(
    docket: Docket,
    registry: CollectorRegistry,
    caplog: pytest.LogCaptureFixture,
    *,
    submit: Submit,
    tasks: int,
    kind: Any,
) -> None:
    """The error names the variable, and nothing is scheduled or stored."""
    carry(kind)
    with ADA.bound(), pytest.raises(CaptureError, match="'tenant' is required and has no value here: set it") as caught:
        await submit(docket, nothing)

    assert caught.value.reason is Reason.CARRIED_REQUIRED
    assert await our_keys(docket) == []
    assert (await docket.snapshot()).total_tasks == 0
    assert counted(registry, "taskctx_captures_total", "outcome") == {"failed": tasks}
    assert [line[:2] for line in our_lines(caplog)] == [("ERROR", "carried_required")]


async def test_a_required_variable_that_is_not_set_is_refused_at_submission(docket: Docket) -> None:
    """One without a default, as one that is None."""
    team: ContextVar[str] = ContextVar("team")
    taskctx.carry(team, type=str, required=True)
    try:
        with pytest.raises(CaptureError, match="'team' is required"):
            await taskctx.add(docket, nothing)()
    finally:
        stop_carrying(team.name)


async def test_with_on_save_failure_continue_the_task_has_no_context_at_all(
    docket: Docket, registry: CollectorRegistry
) -> None:
    """As with whatever else cannot be captured: it is anonymous, or fails where the worker says so."""
    taskctx.configure(registry=registry, on_save_failure="continue")
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    carry()
    with ADA.bound():
        await taskctx.add(docket, task)()
    await work(docket)

    assert seen == [NOBODY]
    assert failures(registry, docket) == {"missing": 1}


async def test_the_snapshot_says_what_is_required(docket: Docket) -> None:
    """By name, in a member that older versions ignore; where nothing is required, it is not there."""
    carry(required=False)
    with tenant(ACME):
        plain: Execution = await taskctx.add(docket, nothing)()
        carry()
        required: Execution = await taskctx.add(docket, nothing)()

    assert "required" not in json.loads(await stored(docket, plain) or b"")
    assert json.loads(await stored(docket, required) or b"")["required"] == ["tenant"]


async def test_a_value_of_none_in_an_older_snapshot_is_lost(docket: Docket, registry: CollectorRegistry) -> None:
    """A submitter that does not require it may have sent None, as a value other than its default."""
    value: ContextVar[str | None] = ContextVar("tenant", default="none")
    taskctx.carry(value, name="value", type=str | None)
    try:
        token = value.set(None)
        await taskctx.add(docket, nothing)()
        value.reset(token)
        taskctx.carry(value, name="value", type=str | None, required=True)
        await work(docket)
    finally:
        stop_carrying("value")
    assert failures(registry, docket) == {"carried_required": 1}
