"""A token that expired while its task was queued: the ``refresh_token`` hook is asked for a new one."""

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
"""Gets the expired token; gives a new one (anything with a token's attributes), or None when there is none."""


class RefreshError(TaskContextError):
    """The hook gave nothing that can be used.

    Attributes:
        what: the hook's part in it, in fixed words and names of types.
    """

    def __init__(self, what: str) -> None:
        super().__init__(what)
        self.what = what


class ExpiredCredential:
    """A credential that is over, and what becomes of it.  The hook's answer is kept, until a token in it is over too.

    Attributes:
        degraded: why the task runs without a token; None where it has one.
        refresh_failure: why there is no new token although there is a hook, in fixed words and names of types.
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
        """Whether this is the credential that is over."""
        return self._credential.json == credential.json

    async def replaced(self, *, may_keep: bool) -> Credential | None:
        """The credential that the task gets: a new one, or what ``on_expired_token`` says.

        Without a new one, the setting says whether the task runs without a token, with the expired one (if it
        ``may_keep`` it), or fails.

        Raises:
            SnapshotError: (``credential_expired`` or ``credential_refresh_failed``) the task fails;
                (``scope_mismatch``) the hook gave another caller's token.
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
        """What the hook gives, if it can be used.

        Raises:
            RefreshError: it cannot, or the hook failed.
            SnapshotError: (``scope_mismatch``) it is another caller's.
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
    """See that a hook can be called and awaited; None is no hook.

    Raises:
        InvalidType: it cannot.
    """
    if hook is None:
        return
    if not callable(hook):
        raise InvalidType(f"refresh_token must be an async function, not {type(hook).__name__}")
    if not _is_async(hook):
        raise InvalidType("refresh_token must be an async function: define it with async def")


def _is_async(hook: Callable[..., object]) -> bool:
    """Whether a call gives something to await: a function, bound or decorated, or an object's ``__call__``."""
    while isinstance(hook, partial):
        hook = cast("partial[object]", hook).func
    inside = unwrap(hook)
    return iscoroutinefunction(inside) or iscoroutinefunction(type(inside).__call__)


async def refreshed(hook: Callable[[Any], Awaitable[object]], token: AccessToken, timeout: float) -> Credential | None:
    """What the hook gives in place of an expired token; None when it has no new one.

    Raises:
        RefreshError: it raised, took longer than ``timeout`` seconds, or gave what is no token.
    """
    answer = await _answer(hook, token, timeout)
    return None if answer is None else _credential_in(answer)


_asked: set[asyncio.Task[object]] = set()
"""Hooks under way: the event loop itself holds them weakly."""


async def _answer(hook: Callable[[Any], Awaitable[object]], token: AccessToken, timeout: float) -> object:
    """Run the hook in an asyncio task of its own, which is cancelled when time is up or the restore is cancelled.

    So what it sets in ContextVars does not reach the task's body, its own CancelledError is not taken for the
    task's, and one that does not heed its cancellation delays nothing.
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
    # a copy: a task that keeps its token keeps it as it was judged
    return await hook(token.model_copy(deep=True))


def _forget(asked: asyncio.Task[object]) -> None:
    """Take note of an exception that is not waited for any more: asyncio would log its text."""
    _asked.discard(asked)
    if not asked.cancelled():
        asked.exception()


def _credential_in(answer: object) -> Credential:
    # whatever an object of the user's raises when it is read, its text stays here
    credential: Credential | None = None
    with suppress(Exception):
        credential = Credential.of(answer)
    if credential is None:
        raise RefreshError(f"gave an object of type {type(answer).__name__}, which is no access token")
    return credential
