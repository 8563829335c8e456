"""Tokens that expired while their task was queued: taskctx asks the ``refresh_token`` hook for a new token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from inspect import iscoroutinefunction, unwrap
from typing import Any, cast

from .._caller.token import AccessToken, Credential, is_expired
from .._runtime import Runtime
from ..errors import InvalidType, Reason, SnapshotError, TaskContextError

RefreshHook = Callable[[AccessToken], Awaitable[object]]
"""Takes the expired token; returns a new one (any object with a token's attributes), or None when there is none."""


class RefreshError(TaskContextError):
    """The hook returned no token that can be used.

    Attributes:
        what: what the hook did, in fixed words and names of types.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class ExpiredCredential:
    """An expired credential and its replacement.  The hook's answer is kept until the new token expires too.

    Attributes:
        degraded: why the task runs without a token; None where the task has a token.
        refresh_failure: why the hook gave no new token, in fixed words and names of types.
    """

    __slots__ = ("_answer", "_credential", "_is_answered", "_runtime", "degraded", "refresh_failure")

    def __init__(self, credential: Credential, runtime: Runtime) -> None:
        self._credential = credential
        self._runtime = runtime
        self._is_answered = False
        self._answer: Credential | None = None
        self.degraded: Reason | None = None
        self.refresh_failure: str | None = None

    def is_of(self, credential: Credential) -> bool:
        """Whether ``credential`` is the expired one."""
        return self._credential.json == credential.json

    async def replaced(self, *, may_keep: bool) -> Credential | None:
        """The credential that the task gets: a new one, or what ``on_expired_token`` says.

        Without a new one, the setting says whether the task runs without a token, runs with the expired token (only
        where ``may_keep`` is set), or fails.

        Raises:
            SnapshotError: (``credential_expired`` or ``credential_refresh_failed``) the task fails;
                (``scope_mismatch``) the hook returned another caller's token.
        """
        reason = Reason.CREDENTIAL_EXPIRED
        self.degraded = self.refresh_failure = None
        try:
            new = await self._new()
        except RefreshError as failure:
            new, reason = None, Reason.CREDENTIAL_REFRESH_FAILED
            self.refresh_failure = failure.what
        if new is not None:
            return new
        on_expired = self._runtime.settings.on_expired_token
        if on_expired == "fail":
            raise SnapshotError(reason)
        is_kept = may_keep and on_expired == "keep"
        if not is_kept or reason is Reason.CREDENTIAL_REFRESH_FAILED:
            self.degraded = reason
        return self._credential if is_kept else None

    async def _new(self) -> Credential | None:
        """The hook's new credential; None where there is no hook or no new token.

        Raises:
            RefreshError: the hook failed, or its answer cannot be used.
            SnapshotError: (``scope_mismatch``) the new token belongs to another caller.
        """
        hook = self._runtime.refresh_token
        if hook is None:
            return None
        answer = self._answer
        if self._is_answered and (answer is None or not is_expired(answer.token, time.time())):
            return answer
        new = await refreshed(hook, self._credential.token, self._runtime.settings.refresh_timeout)
        if new is None:
            self._is_answered, self._answer = True, None
            return None
        if new.scope != self._credential.scope:
            self.refresh_failure = "gave a token of another scope"
            raise SnapshotError(Reason.SCOPE_MISMATCH)
        if is_expired(new.token, time.time()):
            raise RefreshError("gave a token that has expired too")
        self._is_answered, self._answer = True, new
        return new


def checked_hook(hook: object) -> None:
    """Check that a hook is an async callable; None means no hook.

    Raises:
        InvalidType: the hook cannot be called, or not be awaited.
    """
    if hook is None:
        return
    if not callable(hook):
        raise InvalidType(f"refresh_token must be an async function, not {type(hook).__name__}")
    if not _is_async(hook):
        raise InvalidType("refresh_token must be an async function: define it with async def")


def _is_async(hook: Callable[..., object]) -> bool:
    """Whether a hook is async: a function (bound, partial or decorated), or an object with an async ``__call__``."""
    while isinstance(hook, partial):
        hook = cast("partial[object]", hook).func
    inside = unwrap(hook)
    return iscoroutinefunction(inside) or iscoroutinefunction(type(inside).__call__)


async def refreshed(hook: Callable[[Any], Awaitable[object]], token: AccessToken, timeout: float) -> Credential | None:
    """The hook's credential in place of an expired token; None when the hook has no new token.

    Raises:
        RefreshError: the hook raised, took longer than ``timeout`` seconds, or returned no token.
    """
    answer = await _answer(hook, token, timeout)
    return None if answer is None else _credential_in(answer)


_asked: set[asyncio.Task[object]] = set()
"""The running hooks: the event loop itself holds only weak references to them."""


async def _answer(hook: Callable[[Any], Awaitable[object]], token: AccessToken, timeout: float) -> object:
    """Run the hook in an asyncio task of its own, and cancel that task at the timeout or with the restore.

    So the ContextVars that the hook sets do not reach the task's body, the hook's own CancelledError does not cancel
    the task, and a hook that ignores its cancellation delays nothing.
    """
    asked = asyncio.create_task(_ask(hook, token))
    _asked.add(asked)
    asked.add_done_callback(_forget)
    try:
        await asyncio.wait([asked], timeout=timeout)
        if not asked.done():
            raise RefreshError("did not answer within refresh_timeout")
        if asked.cancelled():
            raise RefreshError("raised CancelledError")
        error = asked.exception()
        if error is not None:
            raise RefreshError(f"raised {type(error).__name__}")
        return asked.result()
    finally:
        asked.cancel()


async def _ask(hook: Callable[[Any], Awaitable[object]], token: AccessToken) -> object:
    # a copy, so that the hook cannot change a token that the task may keep
    return await hook(token.model_copy(deep=True))


def _forget(asked: asyncio.Task[object]) -> None:
    """Read the exception of a hook that is not awaited any more: asyncio would log its text otherwise."""
    _asked.discard(asked)
    if not asked.cancelled():
        asked.exception()


def _credential_in(answer: object) -> Credential:
    # reading the user's object may raise anything; the text of that error must not leave this function
    credential: Credential | None = None
    with suppress(Exception):
        credential = Credential.of(answer)
    if credential is None:
        raise RefreshError(f"gave an object of type {type(answer).__name__}, which is no access token")
    return credential
