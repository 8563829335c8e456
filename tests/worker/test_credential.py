"""A token that expired: the hook is asked for a new one, in a task of its own, for which nothing has to wait."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from functools import partial, wraps
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

import taskctx
from taskctx._caller.token import Credential
from taskctx._runtime import current_settings, runtime
from taskctx._worker.credential import ExpiredCredential, RefreshError, refreshed
from taskctx.errors import Reason
from tests import secrets
from tests.helpers import wait_until
from tests.secrets import secret

EXPIRED = secrets.token(expires_at=1)


async def replaced() -> taskctx.AccessToken | None:
    """The token that the current configuration gives to a task with an expired token."""
    new = await ExpiredCredential(Credential.of(EXPIRED), runtime()).replaced(may_keep=True)
    return None if new is None else new.token


class Stubborn:
    """A hook that goes on when it is cancelled, until it is let go, and then raises."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = self.ended = False

    async def __call__(self, expired: taskctx.AccessToken) -> object:
        self.asked = True
        while not self.go.is_set():
            with suppress(asyncio.CancelledError):
                await self.go.wait()
        self.ended = True
        raise RuntimeError(secret("late"))


async def test_without_a_hook_there_is_no_new_token() -> None:
    """The default; and why there is none is told."""
    expired = ExpiredCredential(Credential.of(EXPIRED), runtime())
    assert await expired.replaced(may_keep=True) is None
    assert (expired.degraded, expired.refresh_failure) == (Reason.CREDENTIAL_EXPIRED, None)


async def test_a_hook_that_ends_too_late_is_not_heard_of(caplog: pytest.LogCaptureFixture) -> None:
    """asyncio would log the exception of a task that is not waited for, text and all."""
    hook = Stubborn()
    with pytest.raises(RefreshError, match="did not answer within refresh_timeout"):
        await refreshed(hook, EXPIRED, 0.01)
    assert not hook.ended
    hook.go.set()
    await wait_until(lambda: hook.ended)
    await asyncio.sleep(0)
    gc.collect()
    assert caplog.records == []


async def test_nothing_waits_for_a_hook_that_does_not_heed_its_cancellation() -> None:
    """A task that is cancelled is gone at once."""
    hook = Stubborn()
    asking = asyncio.create_task(refreshed(hook, EXPIRED, 60))
    await wait_until(lambda: hook.asked)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert not hook.ended
    hook.go.set()
    await wait_until(lambda: hook.ended)


async def test_a_hook_that_outlives_its_time_is_kept_to_its_end(caplog: pytest.LogCaptureFixture) -> None:
    """The event loop holds tasks weakly: one that is not held may vanish in the midst of tidying up."""
    with pytest.raises(RefreshError):
        await refreshed(_tidies_up_for_ever, EXPIRED, 0.01)
    await asyncio.sleep(0)
    gc.collect()
    # asyncio would have said "Task was destroyed but it is pending!"
    assert caplog.records == []


async def _tidies_up_for_ever(expired: taskctx.AccessToken) -> object:
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
    return await asyncio.Event().wait()


async def test_an_error_says_what_happened_by_type_alone() -> None:
    """Neither the exception's text nor the exception itself is to be had from it."""

    async def raises(expired: taskctx.AccessToken) -> object:
        raise LookupError(expired.token)

    with pytest.raises(RefreshError, match=r"^raised LookupError$") as caught:
        await refreshed(raises, EXPIRED, 1)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)


async def test_every_configure_replaces_the_hook(registry: CollectorRegistry) -> None:
    """A ``configure`` without a hook removes the earlier hook."""

    async def gives(expired: taskctx.AccessToken) -> taskctx.AccessToken:
        return secrets.token()

    taskctx.configure(registry=registry, refresh_token=gives)
    assert await replaced() == secrets.token()
    taskctx.configure(registry=registry)
    assert await replaced() is None


@pytest.mark.parametrize("hook", [secret("hook"), 7, object()], ids=["text", "number", "object"])
async def test_a_hook_that_cannot_be_called_changes_nothing(hook: Any, registry: CollectorRegistry) -> None:
    """It is refused by type, and what was configured before stays in force."""

    async def gives(expired: taskctx.AccessToken) -> taskctx.AccessToken:
        return secrets.token()

    settings = taskctx.configure(registry=registry, refresh_token=gives)
    with pytest.raises(taskctx.InvalidType, match=r"^refresh_token must be an async function, not ") as caught:
        taskctx.configure(registry=registry, refresh_token=hook)
    assert secret("hook") not in str(caught.value)
    assert current_settings() is settings
    assert await replaced() == secrets.token()


def gives_none(expired: taskctx.AccessToken) -> None:
    """A hook without ``async``."""


class GivesNone:
    def __call__(self, expired: taskctx.AccessToken) -> None: ...


@pytest.mark.parametrize(
    "hook",
    [gives_none, GivesNone(), GivesNone, partial(gives_none), GivesNone().__call__],
    ids=["function", "object", "class", "partial", "bound"],
)
def test_a_hook_that_is_not_async_is_refused(hook: Any, registry: CollectorRegistry) -> None:
    """Now, not when the first token has expired."""
    with pytest.raises(taskctx.InvalidType, match=r"^refresh_token must be an async function: define it with async"):
        taskctx.configure(registry=registry, refresh_token=hook)


class Issuer:
    """Has new tokens, in every way in which a hook can be async."""

    async def renew(self, expired: taskctx.AccessToken, audience: str = "") -> taskctx.AccessToken:
        return secrets.token()

    __call__ = renew


@wraps(Issuer.renew)
def decorated(expired: taskctx.AccessToken) -> Any:
    return Issuer().renew(expired)


@pytest.mark.parametrize(
    "hook",
    [Issuer().renew, Issuer(), partial(Issuer().renew, audience="shop"), partial(Issuer(), audience="shop"), decorated],
    ids=["bound", "object", "partial", "partial of an object", "decorated"],
)
async def test_all_that_is_async_is_a_hook(hook: Any, registry: CollectorRegistry) -> None:
    """A function is only the commonest."""
    taskctx.configure(registry=registry, refresh_token=hook)
    assert await replaced() == secrets.token()
