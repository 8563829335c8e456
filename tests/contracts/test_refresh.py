"""A token that expired in the queue is refreshed before the task's body, or it is said why not."""

from __future__ import annotations

import asyncio
import pickle
import time
import traceback
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from functools import wraps
from typing import Any, Literal

import pytest
from docket import Depends, Docket, Retry, Worker
from docket.dependencies import current_docket
from docket.execution import Execution
from opentelemetry import context, trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

import taskctx
from taskctx import AccessToken
from tests.contracts.outcomes import failure_of, failures, our_lines, restore_span, restores, work
from tests.helpers import (
    ADA,
    BYSTANDER,
    LOCALE,
    NOBODY,
    Caller,
    Sight,
    look,
    running,
    shut_down_in_mid_task,
    stored,
    wait_until,
)
from tests.secrets import MARKER, secret

Hook = Callable[[AccessToken], Awaitable[object]]
Policy = Literal["drop", "keep", "fail"]

LATE = Caller("late", expires_at=int(time.time()) - 60)
"""A caller whose token expires before any of its tasks begins."""

NEW = LATE.token.model_copy(update={"token": secret("new"), "expires_at": int(time.time()) + 3600})
"""What the identity provider gives in its place."""

WITHOUT_TOKEN = replace(LATE.sight, token=None, scope=None)

each_policy = pytest.mark.parametrize("policy", ["drop", "keep", "fail"])


async def gives_new(expired: AccessToken) -> AccessToken:
    return NEW


async def gives_nothing(expired: AccessToken) -> None: ...


class Asked:
    """A hook that remembers what it was asked, and gives a new token each time."""

    def __init__(self) -> None:
        self.expired: list[AccessToken] = []

    async def __call__(self, expired: AccessToken) -> AccessToken:
        self.expired.append(expired)
        return NEW.model_copy(update={"token": secret(f"new-{len(self.expired)}")})


@pytest.fixture
def seen() -> list[Sight]:
    return []


@pytest.fixture
def submit(docket: Docket, seen: list[Sight]) -> Callable[..., Awaitable[Execution]]:
    """Submits a task that notes what it sees."""

    async def task() -> None:
        seen.append(look())

    async def submit(caller: Caller = LATE) -> Execution:
        with caller.requesting():
            return await taskctx.add(docket, task, key="1")()

    return submit


Submit = Callable[..., Awaitable[Execution]]


async def test_the_task_sees_the_new_token(
    docket: Docket, registry: CollectorRegistry, caplog: pytest.LogCaptureFixture, submit: Submit, seen: list[Sight]
) -> None:
    """The rest of the context is as it was captured, the restore is ``ok``, and no line is logged."""
    hook = Asked()
    taskctx.configure(registry=registry, refresh_token=hook)

    await submit()
    await work(docket)

    assert hook.expired == [LATE.token]
    assert seen == [replace(LATE.sight, token=NEW.model_copy(update={"token": secret("new-1")}))]
    assert restores(registry, docket) == {"ok": 1}
    assert failures(registry, docket) == {}
    assert our_lines(caplog) == []


async def test_the_life_that_counts_is_the_new_tokens(
    docket: Docket, registry: CollectorRegistry, submit: Submit
) -> None:
    """``taskctx_credential_ttl_remaining_seconds`` is about what the task has to work with."""
    taskctx.configure(registry=registry, refresh_token=gives_new)

    await submit()
    await work(docket)

    over = registry.get_sample_value(
        "taskctx_credential_ttl_remaining_seconds_bucket", {"docket_name": docket.name, "le": "0.0"}
    )
    count = registry.get_sample_value("taskctx_credential_ttl_remaining_seconds_count", {"docket_name": docket.name})
    assert (over, count) == (0, 1)


async def test_every_attempt_asks_anew(docket: Docket, registry: CollectorRegistry) -> None:
    """The stored snapshot stays as it was sealed for the submission; a new token is never written to Redis."""
    hook, tokens, values = Asked(), list[str](), list[bytes | None]()
    taskctx.configure(registry=registry, refresh_token=hook)

    async def task(retry: Retry = Retry(attempts=3)) -> None:
        tokens.append((taskctx.get_access_token() or LATE.token).token)
        values.append(await stored(docket, execution))
        raise ValueError

    with LATE.bound():
        execution = await taskctx.add(docket, task)()
    values.append(await stored(docket, execution))
    await work(docket)

    assert hook.expired == [LATE.token] * 3
    assert tokens == [secret("new-1"), secret("new-2"), secret("new-3")]
    assert len(set(values)) == 1


async def test_a_task_submits_with_the_new_token(
    docket: Docket, registry: CollectorRegistry, seen: list[Sight]
) -> None:
    """A child's snapshot holds the token that its parent ran with, which is not asked for again."""
    hook = Asked()
    taskctx.configure(registry=registry, refresh_token=hook)

    async def child() -> None:
        seen.append(look())

    async def parent() -> None:
        await taskctx.add(docket, child)()

    with LATE.bound():
        await taskctx.add(docket, parent)()
    await work(docket)

    [sight] = seen
    assert sight.token == NEW.model_copy(update={"token": secret("new-1")})
    assert hook.expired == [LATE.token]


@pytest.mark.parametrize(
    "caller", [ADA, Caller("early", expires_at=int(time.time()) + 3600)], ids=["without an end", "before its end"]
)
async def test_a_token_that_lives_is_left_alone(
    docket: Docket, registry: CollectorRegistry, submit: Submit, seen: list[Sight], caller: Caller
) -> None:
    """The hook is for expired ones only."""
    hook = Asked()
    taskctx.configure(registry=registry, refresh_token=hook)

    await submit(caller)
    await work(docket)

    assert hook.expired == []
    assert seen == [caller.sight]


async def test_a_caller_without_a_token_is_left_alone(docket: Docket, registry: CollectorRegistry) -> None:
    """The hook is not called, and the task sees no token."""
    hook, tokens = Asked(), list[AccessToken | None]()
    taskctx.configure(registry=registry, refresh_token=hook)

    async def task() -> None:
        tokens.append(taskctx.get_access_token())

    with taskctx.bind_caller(request_id="request-1"):
        await taskctx.add(docket, task)()
    await work(docket)

    assert (hook.expired, tokens) == ([], [None])


@each_policy
async def test_a_hook_that_has_no_new_token(
    docket: Docket,
    registry: CollectorRegistry,
    submit: Submit,
    seen: list[Sight],
    policy: Policy,
) -> None:
    """``None`` is an answer: the token is expired, and ``on_expired_token`` has it as without a hook."""
    taskctx.configure(registry=registry, refresh_token=gives_nothing, on_expired_token=policy)

    await submit()
    await work(docket)

    assert seen == {"drop": [WITHOUT_TOKEN], "keep": [LATE.sight], "fail": [NOBODY]}[policy]
    assert restores(registry, docket) == {{"drop": "degraded", "keep": "ok", "fail": "failed"}[policy]: 1}
    assert failures(registry, docket) == ({} if policy == "keep" else {"credential_expired": 1})


async def test_a_hook_cannot_alter_the_token_that_is_kept(
    docket: Docket, registry: CollectorRegistry, submit: Submit, seen: list[Sight]
) -> None:
    """It gets a copy: the claims are what the scope comes from."""

    async def alters(expired: AccessToken) -> None:
        assert expired.claims
        expired.claims["sub"] = "bob"

    taskctx.configure(registry=registry, refresh_token=alters, on_expired_token="keep")

    await submit()
    await work(docket)

    assert seen == [LATE.sight]


# Hooks that fail


async def raises(expired: AccessToken) -> object:
    raise RuntimeError(f"{expired.token} was refused") from OSError(secret("cause"))


async def raises_cancelled(expired: AccessToken) -> object:
    raise asyncio.CancelledError(expired.token)


async def never_answers(expired: AccessToken) -> object:
    return await asyncio.Event().wait()


async def never_heeds_its_cancellation(expired: AccessToken) -> object:
    """Ignores the first cancellation; the event loop cancels it again as it closes."""
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    await asyncio.Event().wait()
    return NEW


async def gives_text(expired: AccessToken) -> object:
    return secret("text")


async def gives_half_a_token(expired: AccessToken) -> object:
    return {"token": secret("half")}


async def gives_what_cannot_be_read(expired: AccessToken) -> object:
    class Evil:
        @property
        def token(self) -> str:
            raise RuntimeError(secret("evil"))

    return Evil()


async def gives_the_same(expired: AccessToken) -> object:
    return expired


@wraps(gives_the_same, assigned=())
def is_not_async(expired: AccessToken) -> Any:
    """A decorator's work that took the async out of a function, which cannot be seen in advance."""
    return NEW


FAILING: dict[Hook, str] = {
    raises: "The hook raised RuntimeError.",
    raises_cancelled: "The hook raised CancelledError.",
    never_answers: "The hook did not answer within refresh_timeout.",
    never_heeds_its_cancellation: "The hook did not answer within refresh_timeout.",
    gives_text: "The hook gave an object of type str, which is no access token.",
    gives_half_a_token: "The hook gave an object of type dict, which is no access token.",
    gives_what_cannot_be_read: "The hook gave an object of type Evil, which is no access token.",
    gives_the_same: "The hook gave a token that has expired too.",
    is_not_async: "The hook raised TypeError.",
}
each_failing = pytest.mark.parametrize("hook", FAILING, ids=lambda hook: hook.__name__)


@each_policy
@each_failing
async def test_a_hook_that_fails(
    docket: Docket,
    registry: CollectorRegistry,
    span_exporter: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
    submit: Submit,
    seen: list[Sight],
    *,
    hook: Hook,
    policy: Policy,
) -> None:
    """``credential_refresh_failed``, as ``on_expired_token`` has it; one line says what the hook did, by type alone."""
    taskctx.configure(registry=registry, refresh_token=hook, refresh_timeout=0.2, on_expired_token=policy)

    await submit()
    await work(docket)

    assert seen == {"drop": [WITHOUT_TOKEN], "keep": [LATE.sight], "fail": [NOBODY]}[policy]
    outcome = "failed" if policy == "fail" else "degraded"
    assert restores(registry, docket) == {outcome: 1}
    assert failures(registry, docket) == {"credential_refresh_failed": 1}
    span = restore_span(span_exporter)
    assert (span.attributes or {})["taskctx.outcome"] == outcome
    assert ((span.attributes or {}).get("error.type"), span.status.is_ok, span.events) == (
        ("credential_refresh_failed", False, ()) if policy == "fail" else (None, True, ())
    )
    [(level, reason, text)] = our_lines(caplog)
    assert (level, reason) == ("WARNING", "credential_refresh_failed")
    assert text.endswith(FAILING[hook])


@each_failing
async def test_a_task_that_fails_of_its_hook_says_so_and_nothing_else(
    docket: Docket, registry: CollectorRegistry, submit: Submit, seen: list[Sight], hook: Hook
) -> None:
    """What the hook raised is in no exception, no chain of exceptions and no pickle."""
    taskctx.configure(
        registry=registry,
        refresh_token=hook,
        refresh_timeout=0.2,
        on_expired_token="fail",
        on_restore_failure="fail",
    )

    execution = await submit()
    await work(docket)

    assert seen == []
    group = await failure_of(execution)
    [error] = group.exceptions
    assert isinstance(error, taskctx.RestoreError)
    assert error.reason is taskctx.Reason.CREDENTIAL_REFRESH_FAILED
    assert (error.__cause__, error.__context__) == (None, None)
    for form in ("".join(traceback.format_exception(group)), repr(error), pickle.dumps(error).decode("latin-1")):
        assert MARKER not in form


@each_policy
@pytest.mark.parametrize("changes", [{"client_id": "bob"}, {"claims": {"sub": "bob"}}, {"claims": None}], ids=str)
async def test_a_token_of_another_scope_is_never_installed(
    docket: Docket,
    registry: CollectorRegistry,
    caplog: pytest.LogCaptureFixture,
    submit: Submit,
    seen: list[Sight],
    *,
    changes: dict[str, Any],
    policy: Policy,
) -> None:
    """``scope_mismatch``, whatever ``on_expired_token`` says: nothing of the context takes effect."""

    async def gives_anothers(expired: AccessToken) -> AccessToken:
        return NEW.model_copy(update=changes)

    taskctx.configure(registry=registry, refresh_token=gives_anothers, on_expired_token=policy)

    await submit()
    await work(docket)

    assert seen == [NOBODY]
    assert restores(registry, docket) == {"failed": 1}
    assert failures(registry, docket) == {"scope_mismatch": 1}
    [(_, _, text)] = our_lines(caplog)
    assert text.endswith("The hook gave a token of another scope.")


async def test_somebody_elses_token_is_not_shown_to_the_hook(
    docket: Docket, registry: CollectorRegistry, submit: Submit
) -> None:
    """A stored token of another scope than the key's is refused before."""
    hook = Asked()
    taskctx.configure(registry=registry, refresh_token=hook)

    await submit()
    other = Caller("other", expires_at=LATE.expires_at).token
    forged = taskctx.TaskContextSnapshot(access_token_json=other.model_dump_json())
    await forged.save(docket, LATE.scope, "1", 60)
    await work(docket)

    assert hook.expired == []
    assert failures(registry, docket) == {"scope_mismatch": 1}


# What surrounds the hook


async def test_the_hook_runs_as_nobody_and_leaves_nothing_behind(
    docket: Docket, registry: CollectorRegistry, submit: Submit, seen: list[Sight]
) -> None:
    """Neither the worker's surroundings nor the expired token are its caller, and what it binds stays its own."""
    looks: list[Sight] = []

    async def binds(expired: AccessToken) -> AccessToken:
        looks.append(look())
        LOCALE.set("of the hook")
        context.attach(context.set_value("of", "the hook"))
        # entered and never left
        taskctx.bind_caller(access_token=BYSTANDER.token, request_id="of the hook").__enter__()
        return NEW

    taskctx.configure(registry=registry, refresh_token=binds)

    await submit()
    await work(docket)

    assert looks == [NOBODY]
    assert seen == [replace(LATE.sight, token=NEW)]


async def test_the_hooks_own_spans_are_part_of_the_trace(
    docket: Docket, registry: CollectorRegistry, span_exporter: InMemorySpanExporter, submit: Submit
) -> None:
    """Below ``taskctx.restore``, with instrumentation as it is elsewhere: only Redis's is suppressed."""
    suppressed: list[object] = []

    async def asks(expired: AccessToken) -> AccessToken:
        suppressed.append(context.get_value("suppress_instrumentation"))
        with trace.get_tracer("tests").start_as_current_span("POST /token"):
            return NEW

    taskctx.configure(registry=registry, refresh_token=asks)

    await submit()
    await work(docket)

    assert suppressed == [None]
    [asked] = [span for span in span_exporter.get_finished_spans() if span.name == "POST /token"]
    assert asked.parent == restore_span(span_exporter).get_span_context()


async def test_the_hooks_time_is_not_rediss(
    docket: Docket, registry: CollectorRegistry, submit: Submit, seen: list[Sight]
) -> None:
    """The hook may take longer than ``backend_timeout``."""

    async def thinks(expired: AccessToken) -> AccessToken:
        await asyncio.sleep(1.2)
        return NEW

    taskctx.configure(registry=registry, refresh_token=thinks, backend_timeout=1, refresh_timeout=60)

    await submit()
    await work(docket)

    assert [sight.token for sight in seen] == [NEW]
    assert restores(registry, docket) == {"ok": 1}


class Waiting:
    """A hook that waits until it is cancelled."""

    def __init__(self) -> None:
        self.asked = self.cancelled = False

    async def __call__(self, expired: AccessToken) -> object:
        self.asked = True
        try:
            return await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise


async def test_a_restore_that_is_cancelled_cancels_the_hook(
    docket: Docket, registry: CollectorRegistry, submit: Submit
) -> None:
    """The hook is cancelled too, and no failure is counted."""
    hook = Waiting()
    taskctx.configure(registry=registry, refresh_token=hook, refresh_timeout=60)
    execution = await submit()

    token = current_docket.set(docket)
    try:
        restoring = asyncio.create_task(taskctx.restore_task_snapshot(execution.key))
    finally:
        current_docket.reset(token)
    await wait_until(lambda: hook.asked)
    restoring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await restoring
    await wait_until(lambda: hook.cancelled)

    assert restores(registry, docket) == {"skipped": 1}
    assert failures(registry, docket) == {}


async def test_a_task_that_is_cancelled_cancels_the_hook(
    docket: Docket, worker: Worker, registry: CollectorRegistry, submit: Submit, seen: list[Sight]
) -> None:
    """``docket.cancel`` reaches a task that waits for its token."""
    hook = Waiting()
    taskctx.configure(registry=registry, refresh_token=hook, refresh_timeout=60)

    execution = await submit()
    async with running(worker):
        await wait_until(lambda: hook.asked)
        await docket.cancel(execution.key)
        await wait_until(lambda: hook.cancelled)

    assert seen == []
    assert failures(registry, docket) == {}


async def test_a_worker_that_is_shut_down_cancels_the_hook(
    docket: Docket, worker: Worker, registry: CollectorRegistry, submit: Submit, seen: list[Sight]
) -> None:
    """The next worker is given the task again, and asks anew."""
    hook = Waiting()
    taskctx.configure(registry=registry, refresh_token=hook, refresh_timeout=60)

    async def asked() -> None:
        await wait_until(lambda: hook.asked)

    await submit()
    await shut_down_in_mid_task(worker, asked)
    await wait_until(lambda: hook.cancelled)
    assert seen == []

    taskctx.configure(registry=registry, refresh_token=gives_new)
    await work(docket, redelivery_timeout=timedelta(milliseconds=200))
    assert [sight.token for sight in seen] == [NEW]


# Other ways to restore


async def test_restoring_by_hand_refreshes_too(docket: Docket, registry: CollectorRegistry, submit: Submit) -> None:
    """``restore_task_snapshot``, awaited with a key."""
    taskctx.configure(registry=registry, refresh_token=gives_new)
    execution = await submit()

    token = current_docket.set(docket)
    try:
        with BYSTANDER.bound():
            await taskctx.restore_task_snapshot(execution.key)
            assert taskctx.get_access_token() == NEW
    finally:
        current_docket.reset(token)


async def test_restoring_as_a_dependency_refreshes_too(
    docket: Docket, registry: CollectorRegistry, submit: Submit, seen: list[Sight]
) -> None:
    """``Depends(restore_task_snapshot)``."""
    taskctx.configure(registry=registry, refresh_token=gives_new)

    await submit()
    await work(docket, dependencies={"restore": Depends(taskctx.restore_task_snapshot)})

    assert [sight.token for sight in seen] == [NEW]


async def test_any_object_with_a_tokens_attributes_will_do(
    docket: Docket, registry: CollectorRegistry, submit: Submit, seen: list[Sight]
) -> None:
    """The hook may return the MCP SDK's token or a dict from JSON, like an argument of ``bind_caller``."""

    async def gives_json(expired: AccessToken) -> dict[str, Any]:
        return {"token": secret("json"), "client_id": LATE.name, "claims": {"sub": "me"}, "issuer": "idp"}

    taskctx.configure(registry=registry, refresh_token=gives_json)

    await submit()
    await work(docket)

    [token] = [sight.token for sight in seen]
    assert token is not None
    assert (token.token, token.expires_at, token.model_extra) == (secret("json"), None, {"issuer": "idp"})
