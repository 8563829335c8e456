"""Asking for a new token in place of an expired one: the user's hook, and what can go wrong with it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from inspect import iscoroutinefunction, unwrap
from typing import cast

from .._caller.token import AccessToken
from ..errors import InvalidType, TaskContextError

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


_hook: RefreshHook | None = None
_asked: set[asyncio.Task[object]] = set()
"""Hooks under way: the event loop itself holds them weakly."""


def use_refresh_hook(hook: RefreshHook | None) -> None:
    """Put this hook in use; None for no hook."""
    global _hook
    _hook = hook


def current_refresh_hook() -> RefreshHook | None:
    """The hook in use."""
    return _hook


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


async def refreshed(token: AccessToken, timeout: float) -> AccessToken | None:
    """What the hook gives in place of an expired token; None when it has no new one, or there is no hook.

    Raises:
        RefreshError: it raised, took longer than ``timeout`` seconds, or gave what is no token.
    """
    if _hook is None:
        return None
    answer = await _answer(_hook, token, timeout)
    return None if answer is None else _token_in(answer)


async def _answer(hook: RefreshHook, token: AccessToken, timeout: float) -> object:
    """Run the hook in an asyncio task of its own, which is cancelled when time is up or nobody waits any longer.

    So what it sets in ContextVars does not reach the task's body, its own CancelledError is not taken for the
    task's, and one that does not heed its cancellation keeps nobody waiting.
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


async def _ask(hook: RefreshHook, token: AccessToken) -> object:
    # a copy: a task that keeps its token keeps it as it was judged
    return await hook(token.model_copy(deep=True))


def _forget(asked: asyncio.Task[object]) -> None:
    """Take note of an exception that nobody waits for: asyncio would log its text."""
    _asked.discard(asked)
    if not asked.cancelled():
        asked.exception()


def _token_in(answer: object) -> AccessToken:
    # whatever an object of the user's raises when it is read, its text stays here
    token: AccessToken | None = None
    with suppress(Exception):
        token = AccessToken.coerce(answer)
    if token is None:
        raise RefreshError(f"gave an object of type {type(answer).__name__}, which is no access token")
    return token
