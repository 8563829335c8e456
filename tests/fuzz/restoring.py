"""A target of its own weight: whatever lies under a task's key, restored on a docket in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from docket import Docket
from docket.dependencies import current_docket

import taskctx
from taskctx._caller.caller import ANONYMOUS, current_caller
from taskctx._caller.carried import stop_carrying
from taskctx._caller.resets import Resets
from taskctx._runtime import runtime, use_runtime
from taskctx._snapshot.keys import build_task_key, snapshot_key
from taskctx._transport import commands
from taskctx._transport.connection import connection_of
from taskctx._worker.restoration import Restoration
from taskctx.errors import Reason, RestoreError
from taskctx.settings import Settings
from tests.fuzz.contract import assert_is_its_reason, leaving_no_caller

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
    before = runtime()
    use_runtime(replace(before, settings=_STRICT))
    taskctx.carry(_CARRIED, type=_CARRIED_TYPE)
    try:
        async with Docket(name="fuzz", url="memory://fuzz") as docket:
            key = docket.key(snapshot_key("taskctx", SCOPE, "1"))
            with Resets() as resets:
                resets.set(current_docket, docket)
                for value in values:
                    await commands.put(connection_of(docket), key, value, ttl=10)
                    await _restore_once()
    finally:
        stop_carrying("fuzz")
        use_runtime(before)


async def _restore_once() -> None:
    """The task's caller is in force, or an anonymous one; a failure is never one of taskctx's own."""
    restoration = Restoration(KEY)
    with leaving_no_caller(), restoration.resets:
        try:
            await restoration.run()
        except RestoreError as error:
            failure = error
        else:
            assert taskctx.get_task_scope() in (None, SCOPE)
            return
        assert current_caller.get() is ANONYMOUS
        assert_is_its_reason(
            failure,
            Reason.MALFORMED,
            Reason.SCHEMA_UNSUPPORTED,
            Reason.SCOPE_MISMATCH,
            Reason.DECRYPT_UNKNOWN_KEY,
        )
