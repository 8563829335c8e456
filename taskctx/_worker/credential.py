"""The token that a task gets: of its key's scope, alive, and refreshed or left out where it is not."""

from __future__ import annotations

import time

from .._caller.token import AccessToken, is_expired, life_left, token_scope
from ..errors import Reason, SnapshotError
from ..operations import Restore
from ..settings import Settings
from .refresh import RefreshError, refreshed


async def usable_token(
    token: AccessToken | None, task_scope: str | None, operation: Restore, settings: Settings, *, may_keep: bool = True
) -> AccessToken | None:
    """The token that a snapshot holds, or a refreshed one where its life is over.

    Without a new one, ``on_expired_token`` says whether the task runs without a token, with the expired one (if it
    ``may_keep`` it), or fails.

    Raises:
        SnapshotError: (``scope_mismatch``, or ``credential_expired`` and ``credential_refresh_failed`` where they
            fail the task).
    """
    if token is None:
        return None
    if token_scope(token) != task_scope:
        raise SnapshotError(Reason.SCOPE_MISMATCH)
    operation.credential_ttl = life_left(token, time.time())
    if not is_expired(token, time.time()):
        return token
    reason = Reason.CREDENTIAL_EXPIRED
    try:
        new = await _new_token(token, task_scope, operation, settings)
    except RefreshError as failure:
        new, reason = None, Reason.CREDENTIAL_REFRESH_FAILED
        operation.refresh_failure = failure.what
    if new is None:
        return _expired(token, reason, operation, settings, may_keep=may_keep)
    operation.credential_ttl = life_left(new, time.time())
    return new


async def _new_token(
    expired: AccessToken, task_scope: str | None, operation: Restore, settings: Settings
) -> AccessToken | None:
    """What the hook gives, if it can be used.

    Raises:
        RefreshError: it cannot, or the hook failed.
        SnapshotError: (``scope_mismatch``) it is another caller's.
    """
    new = await refreshed(expired, settings.refresh_timeout)
    if new is None:
        return None
    if token_scope(new) != task_scope:
        operation.refresh_failure = "gave a token of another scope"
        raise SnapshotError(Reason.SCOPE_MISMATCH)
    if is_expired(new, time.time()):
        raise RefreshError("gave a token that has expired too")
    return new


def _expired(
    token: AccessToken, reason: Reason, operation: Restore, settings: Settings, *, may_keep: bool
) -> AccessToken | None:
    """What becomes of a token that is over and that nobody replaced."""
    if settings.on_expired_token == "fail":
        raise SnapshotError(reason)
    is_kept = may_keep and settings.on_expired_token == "keep"
    if not is_kept or reason is Reason.CREDENTIAL_REFRESH_FAILED:
        operation.degraded(reason)
    return token if is_kept else None
