"""A target of its own weight: whatever lies under a task's key, restored on a docket in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from docket import Docket
from docket.dependencies import current_docket

import taskctx
from taskctx._caller.caller import NOBODY, current_caller
from taskctx._caller.carried import stop_carrying
from taskctx._caller.resets import Undo
from taskctx._snapshot.keys import build_task_key, snapshot_key
from taskctx._transport import commands
from taskctx._worker.restoration import restore
from taskctx.errors import Reason, RestoreError
from taskctx.settings import Settings, current_settings, use_settings
from tests.fuzz.contract import assert_is_its_reason, leaving_nobody

SCOPE = "reports-app|ada"
KEY = build_task_key(SCOPE, "1", "task", "report")

_TOKEN = json.dumps({"token": "token", "client_id": SCOPE})
_STRICT = Settings(on_restore_failure="fail")
_CARRIED: ContextVar[Any] = ContextVar("fuzz", default=None)
_CARRIED_TYPE = dict[str, float | list[int] | str]


def restoring(data: bytes) -> None:
    """A stored value; and snapshots that hold the same bytes as token, in it, and as a carried value."""
    text = data.decode("utf-8", "replace")
    tokens = (text, *(_TOKEN.replace("}", f', "{name}": {text}}}') for name in ("expires_at", "claims")))
    snapshots = [json.dumps({"access_token_json": token}).encode() for token in tokens]
    carried = f'{{"carried": {{"fuzz": {text}}}}}'.encode()
    asyncio.run(_restored([data, carried, *snapshots]))


async def _restored(values: Iterable[bytes]) -> None:
    settings = current_settings()
    use_settings(_STRICT)
    taskctx.carry(_CARRIED, type=_CARRIED_TYPE)
    try:
        async with Docket(name="fuzz", url="memory://fuzz") as docket:
            with Undo() as undo:
                undo.set(current_docket, docket)
                for value in values:
                    await commands.put(docket, docket.key(snapshot_key("taskctx", SCOPE, "1")), value, ttl=10)
                    await _restore_once()
    finally:
        stop_carrying("fuzz")
        use_settings(settings)


async def _restore_once() -> None:
    """The task's caller is in force, or nobody is; a failure is never one of taskctx's own."""
    with leaving_nobody(), Undo() as undo:
        try:
            await restore(KEY, undo)
        except RestoreError as error:
            failure = error
        else:
            assert taskctx.get_task_scope() in (None, SCOPE)
            return
        assert current_caller.get() is NOBODY
        assert_is_its_reason(
            failure,
            Reason.MALFORMED,
            Reason.SCHEMA_UNSUPPORTED,
            Reason.SCOPE_MISMATCH,
            Reason.DECRYPT_UNKNOWN_KEY,
        )
