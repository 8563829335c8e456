"""ContextVars of the user's ride along."""

from __future__ import annotations

import asyncio
import dataclasses
import math
from collections.abc import Iterator, Mapping
from contextvars import ContextVar, Token
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID, uuid4

import pydantic
import pytest
import structlog
from docket import Docket, Worker
from prometheus_client import CollectorRegistry

import taskctx
from taskctx import TaskContextSnapshot
from taskctx._caller.carried import capture_carried, load_carried, set_carried, stop_carrying
from taskctx._caller.resets import Resets
from taskctx.errors import CaptureError, ConfigurationError, InvalidArgument, InvalidType
from tests.conftest import our_keys
from tests.secrets import MARKER, secret


class Unjsonable:
    def __repr__(self) -> str:
        return secret("repr")


class Carry:
    """Carries for the length of a test."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, var: Any, *, name: str | None = None, **options: Any) -> None:
        taskctx.carry(var, name=name, **options)
        self.names.append(name or var.name)


@pytest.fixture
def carry() -> Iterator[Carry]:
    carry = Carry()
    yield carry
    for name in carry.names:
        stop_carrying(name)


async def test_a_carried_variable_is_set_in_the_task(docket: Docket, worker: Worker, carry: Carry) -> None:
    """The task sees the submitter's value; after the task the variable has its default again."""
    tenant: ContextVar[str] = ContextVar("tenant", default="none")
    carry(tenant)
    seen: list[str] = []

    async def report() -> None:
        seen.append(tenant.get())

    token = tenant.set("acme")
    await taskctx.add(docket, report)()
    tenant.reset(token)
    await worker.run_until_finished()

    assert seen == ["acme"]
    assert tenant.get() == "none"


async def test_a_variable_that_was_not_set_has_its_default(docket: Docket, worker: Worker, carry: Carry) -> None:
    """The task sees the default, even if the variable is set around the worker."""
    tenant: ContextVar[str] = ContextVar("tenant", default="none")
    team: ContextVar[str] = ContextVar("team")
    carry(tenant)
    carry(team)
    seen: list[str | None] = []

    async def report() -> None:
        seen.extend((tenant.get(), team.get()))

    await taskctx.add(docket, report)()
    tokens = tenant.set("of the worker"), team.set("of the worker")
    await worker.run_until_finished()
    tenant.reset(tokens[0])
    team.reset(tokens[1])

    assert seen == ["none", None]


async def test_a_variable_without_a_default_stays_unset(docket: Docket, worker: Worker, carry: Carry) -> None:
    """Where the submitter did not set it and the worker did not either."""
    team: ContextVar[str] = ContextVar("team")
    carry(team)
    seen: list[str] = []

    async def report() -> None:
        seen.append(team.get("unset"))

    await taskctx.add(docket, report)()
    await worker.run_until_finished()

    assert seen == ["unset"]


async def test_values_are_validated_as_their_type(docket: Docket, worker: Worker, carry: Carry) -> None:
    """Models, dates and ids are themselves again on the far side."""

    class Plan(pydantic.BaseModel):
        name: str
        since: date

    @dataclasses.dataclass
    class Quota:
        left: int

    plan: ContextVar[Plan] = ContextVar("plan")
    quota: ContextVar[Quota] = ContextVar("quota")
    tenant_id: ContextVar[UUID] = ContextVar("tenant_id")
    due: ContextVar[datetime] = ContextVar("due")
    for var, type_ in ((plan, Plan), (quota, Quota), (tenant_id, UUID), (due, datetime)):
        carry(var, type=type_)
    given = (Plan(name="gold", since=date(2026, 1, 1)), Quota(3), uuid4(), datetime(2026, 11, 22, 12, tzinfo=UTC))
    seen: list[tuple[object, ...]] = []

    async def report() -> None:
        seen.append((plan.get(), quota.get(), tenant_id.get(), due.get()))

    async def submit() -> None:
        plan.set(given[0])
        quota.set(given[1])
        tenant_id.set(given[2])
        due.set(given[3])
        await taskctx.add(docket, report)()

    # a task has a context of its own, so nothing is set here or in the worker
    await asyncio.create_task(submit())
    await worker.run_until_finished()

    assert seen == [given]


def test_only_what_differs_from_the_default_is_captured(carry: Carry) -> None:
    """The default itself need not travel."""
    tenant: ContextVar[str] = ContextVar("tenant", default="none")
    team: ContextVar[str | None] = ContextVar("team")
    carry(tenant)
    carry(team, name="acme.team")
    assert capture_carried() == {}
    tenant.set("acme")
    team.set(None)
    assert capture_carried() == {"tenant": "acme", "acme.team": None}


def test_a_value_equal_to_the_default_is_the_default(carry: Carry) -> None:
    """A mutable default need not be the same object; a comparison that raises is no equality."""

    class Incomparable(dict[str, int]):
        def __eq__(self, other: object) -> bool:
            raise RuntimeError(secret("comparison"))

        __hash__ = None  # type: ignore[assignment]

    tags: ContextVar[dict[str, int]] = ContextVar("tags", default={})  # noqa: B039 - what is tested
    carry(tags)
    tags.set({})
    assert capture_carried() == {}
    tags.set({"a": 1})
    assert capture_carried() == {"tags": {"a": 1}}
    tags.set(Incomparable(a=1))
    assert list(capture_carried()) == ["tags"]


@pytest.mark.parametrize(("default", "value"), [(0, False), (1, True), (False, 0), (1, 1.0), ([0], [False])])
def test_a_value_of_another_type_is_not_the_default(carry: Carry, default: object, value: object) -> None:
    """False is not 0, though they are equal: the task sees what the handler saw."""
    flag: ContextVar[object] = ContextVar("flag", default=default)
    carry(flag)
    flag.set(value)
    captured = capture_carried()
    assert repr(captured) == repr({"flag": value})


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (Any, Unjsonable()),
        (Any, b"\xff" + secret("bytes").encode()),
        (int, secret("text")),
        (UUID, [secret("text")]),
        (list[pydantic.SecretStr], [pydantic.SecretStr(secret("hidden"))]),
    ],
)
def test_a_value_that_has_no_json_names_the_variable_only(carry: Carry, type_: Any, value: object) -> None:
    """The error is ours, is raised at capture, and shows nothing of the value."""
    tenant: ContextVar[object] = ContextVar("tenant", default=None)
    carry(tenant, type=type_)
    tenant.set(value)
    with pytest.raises(CaptureError, match="the carried variable 'tenant' holds a value") as caught:
        taskctx.TaskContextSnapshot.capture()
    assert caught.value.__suppress_context__
    assert MARKER not in str(caught.value)


async def test_a_value_that_has_no_json_schedules_nothing(
    docket: Docket, carry: Carry, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing is half-written either; the log says what to do, which is nothing about workers alone."""
    tenant: ContextVar[object] = ContextVar("tenant", default=None)
    carry(tenant)

    async def report() -> None: ...

    tenant.set(Unjsonable())
    with pytest.raises(CaptureError):
        await taskctx.add(docket, report)()
    (told,) = (record.message for record in caplog.records if record.name == "taskctx")
    assert "has no JSON form. carry(var, type=...) must name a type that fits" in told
    assert await our_keys(docket) == []
    assert (await docket.snapshot()).total_tasks == 0


class Aliased(pydantic.BaseModel):
    tenant: str = pydantic.Field(alias="tenantId")


class Computing(pydantic.BaseModel, extra="forbid"):
    width: int

    @pydantic.computed_field
    @property
    def area(self) -> int:
        return self.width**2


class Strict(pydantic.BaseModel, strict=True):
    since: date
    ids: tuple[int, ...]


class Encoded(pydantic.BaseModel):
    ids: pydantic.Json[list[int]]


@pytest.mark.parametrize(
    "value",
    [
        Aliased(tenantId="acme"),
        Computing(width=2),
        Strict(since=date(2026, 1, 1), ids=(1, 2)),
        Encoded.model_validate({"ids": "[1]"}),
    ],
)
def test_what_a_model_writes_it_reads(carry: Carry, value: pydantic.BaseModel) -> None:
    """Also a model with aliases, one that refuses the fields that it computes, a strict one, and one of JSON text."""
    plan: ContextVar[pydantic.BaseModel | None] = ContextVar("plan", default=None)
    carry(plan, type=type(value))
    plan.set(value)
    loaded = load_carried(capture_carried())
    assert (dict(loaded.values), loaded.invalid) == ({"plan": value}, frozenset())


def test_a_value_that_is_too_deep_to_be_read_is_refused(carry: Carry) -> None:
    """At capture, as every value without a JSON form is: pydantic writes deeper lists than it reads."""
    deep: list[Any] = []
    for _ in range(220):
        deep = [deep]
    tenant: ContextVar[object] = ContextVar("tenant", default=None)
    carry(tenant)
    tenant.set(deep)
    with pytest.raises(CaptureError, match="the carried variable 'tenant' holds a value"):
        capture_carried()


class OfAnOlderVersion(pydantic.BaseModel):
    @pydantic.model_validator(mode="before")
    @classmethod
    def _read(cls, values: Any) -> Any:
        return values["renamed"]


def test_a_validator_that_fails_costs_its_own_value_only(carry: Carry) -> None:
    """A model's validator may raise any error for a value that it does not know."""
    plan: ContextVar[OfAnOlderVersion | None] = ContextVar("plan", default=None)
    tenant: ContextVar[str] = ContextVar("tenant", default="none")
    carry(plan, type=OfAnOlderVersion)
    carry(tenant, type=str)
    loaded = load_carried({"plan": {}, "tenant": "acme"})
    assert (dict(loaded.values), loaded.invalid) == ({"tenant": "acme"}, {"plan"})


async def test_a_stored_value_that_does_not_fit_is_left_out(
    docket: Docket, worker: Worker, carry: Carry, registry: CollectorRegistry
) -> None:
    """The task runs with the rest, and the restore counts as degraded."""
    number: ContextVar[int] = ContextVar("number", default=0)
    tenant: ContextVar[str] = ContextVar("tenant", default="none")
    carry(number, type=int)
    carry(tenant, type=str)
    seen: list[tuple[int, str, str | None]] = []

    async def report() -> None:
        seen.append((number.get(), tenant.get(), taskctx.get_request_id()))

    snapshot = taskctx.TaskContextSnapshot(
        origin_request_id="request-1", carried={"number": secret("text"), "tenant": "acme"}
    )
    await snapshot.save(docket, None, "monthly", 60)
    await docket.add(report, key=taskctx.build_task_key(None, "monthly", "task", "report"))()
    await worker.run_until_finished()

    assert seen == [(0, "acme", "request-1")]
    labels = {"docket_name": docket.name, "reason": "carried_invalid"}
    assert registry.get_sample_value("taskctx_restore_failures_total", labels) == 1
    labels = {"docket_name": docket.name, "outcome": "degraded"}
    assert registry.get_sample_value("taskctx_restores_total", labels) == 1


def test_a_name_that_this_process_does_not_carry_is_left_alone(carry: Carry) -> None:
    """Submitters and workers may be of two versions."""
    tenant: ContextVar[str] = ContextVar("tenant", default="none")
    carry(tenant)
    loaded = load_carried({"tenant": "acme", "unheard-of": {"x": 1}})
    assert dict(loaded.values) == {"tenant": "acme"}
    assert (loaded.invalid, loaded.lost) == (frozenset(), frozenset())
    assert "acme" not in repr(loaded)


def test_setting_is_undone_in_reverse() -> None:
    """Values of variables that are not carried are ignored, and nothing is undone."""
    with Resets() as resets:
        set_carried({"tenant": "acme"}, resets)


def test_the_same_variable_may_be_carried_twice(carry: Carry) -> None:
    """Modules are imported twice; a later type replaces an earlier one."""
    tenant: ContextVar[object] = ContextVar("tenant", default=None)
    carry(tenant)
    carry(tenant, type=int)
    assert load_carried({"tenant": "x"}).invalid == {"tenant"}


def test_two_variables_cannot_share_a_name(carry: Carry) -> None:
    """One of them would be lost."""
    carry(ContextVar("tenant", default=None))
    other: ContextVar[str] = ContextVar("tenant", default="none")
    with pytest.raises(ConfigurationError, match="another variable is already carried under the name 'tenant'"):
        taskctx.carry(other)
    carry(other, name="other tenant")


@pytest.mark.parametrize("wrong", [None, "tenant", 7, object(), dict[str, str]()])
def test_what_is_no_variable_is_refused(wrong: Any) -> None:
    """It takes a ContextVar's three methods."""
    with pytest.raises(InvalidType, match="a ContextVar, or an object with its get, set and reset"):
        taskctx.carry(wrong)


class Unknown:
    """A class that pydantic knows nothing of."""


@pytest.mark.parametrize("wrong", [5, Unknown, "Unheard", "un heard", {"tenant": 1}])
def test_what_is_no_type_is_refused(wrong: Any) -> None:
    """As an error of ours; pydantic's own says more, and is its cause.  The variable is not carried."""
    tenant: ContextVar[str] = ContextVar("tenant")
    with pytest.raises(
        InvalidType, match=r"^carry needs a type that pydantic can validate: carry\(var, type="
    ) as refused:
        taskctx.carry(tenant, type=wrong)
    assert refused.value.__cause__ is not None
    tenant.set("acme")
    assert capture_carried() == {}


class StructlogContext:
    """structlog's contextvars as one variable: the adapter that the documentation shows."""

    def get(self) -> dict[str, Any]:
        return structlog.contextvars.get_contextvars()

    def set(self, value: Mapping[str, Any]) -> Mapping[str, Token[Any]]:
        structlog.contextvars.clear_contextvars()
        return structlog.contextvars.bind_contextvars(**value)

    def reset(self, token: Mapping[str, Token[Any]]) -> None:
        structlog.contextvars.reset_contextvars(**token)


def test_an_adapter_needs_a_name() -> None:
    """It has none of its own."""
    with pytest.raises(InvalidArgument, match=r"carry\(var, name=\.\.\.\)"):
        taskctx.carry(StructlogContext())


async def test_structlogs_contextvars_come_along(docket: Docket, worker: Worker, carry: Carry) -> None:
    """The task's log lines have the values that its handler bound, and another task's lines have none of them."""
    carry(StructlogContext(), name="structlog", type=dict[str, Any])
    seen: list[dict[str, Any]] = []

    async def report() -> None:
        seen.append(dict(structlog.contextvars.merge_contextvars(None, "info", {"event": "working"})))

    with structlog.contextvars.bound_contextvars(tenant="acme", page=3):
        await taskctx.add(docket, report, key="first")()
    await taskctx.add(docket, report, key="second")()
    with structlog.contextvars.bound_contextvars(tenant="of the worker"):
        await worker.run_until_finished()

    assert sorted(seen, key=len) == [{"event": "working"}, {"event": "working", "tenant": "acme", "page": 3}]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (float, math.nan),
        (float, -math.inf),
        (list[float | None], [math.nan, None, math.inf]),
        (dict[str, float], {"a": math.inf}),
        (Any, math.nan),
    ],
)
def test_a_number_that_json_does_not_know_is_carried(carry: Carry, kind: Any, value: Any) -> None:
    """It arrives as the number that it was, and not as None or as nothing."""
    score: ContextVar[Any] = ContextVar("score", default=None)
    carry(score, type=kind)
    token = score.set(value)
    stored = TaskContextSnapshot.from_json(TaskContextSnapshot.capture().to_json()).carried
    score.reset(token)
    assert repr(load_carried(stored).values["score"]) == repr(value)
