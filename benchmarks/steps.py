"""What a context costs apart from taskctx's own code: its parts, one on top of another.

The first is Docket with a dependency of the worker that does nothing.  The next also stores a value of a sealed
context's size before each task, fetches it before the task's body, and gives it another TTL after it, in as few
commands as taskctx does.  The last makes that value from a caller and the caller from that value, by the libraries that
taskctx uses: what cannot be left out of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any
from uuid import uuid4

from docket import Docket
from docket.dependencies import Dependency, current_execution
from docket.execution import Execution

from taskctx import AccessToken
from taskctx._snapshot.codec import codec_for
from taskctx._snapshot.record import Record, dump_json
from taskctx._transport import commands as _store
from taskctx._transport.deadline import bounded
from taskctx.settings import load_settings

from . import callers
from .paths import TTL, Path, Task, WithoutContext, access_token, place

SIZE = 828
"""Bytes of the usual caller's context, sealed."""

SHORTENED = 900


class Idle(WithoutContext):
    """Docket's own price of a dependency."""

    def __init__(self) -> None:
        self.dependencies = {"nothing": _Nothing()}


class _Nothing(Dependency[None]):
    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


class Journeys(WithoutContext):
    """Three operations of a task, which travel with those of other tasks."""

    def __init__(self) -> None:
        self.dependencies = {"journeys": _Journeys(self)}
        self._value = os.urandom(SIZE)

    async def submit(self, docket: Docket, task: Task, number: int, caller: Any) -> None:
        task_key = str(uuid4())
        key = place(docket, task_key)
        async with bounded():
            await _store.put(docket, key, self.written(number, key), TTL)
        await docket.add(task, key=task_key)(number)

    def written(self, number: int, key: str) -> bytes:
        return self._value

    def read(self, stored: bytes, key: str) -> None:
        if len(stored) != SIZE:
            raise ValueError("another value was fetched than the one that was put")


class _Journeys(Dependency[None]):
    def __init__(self, path: Journeys) -> None:
        self._path = path

    async def __aenter__(self) -> None:
        execution: Execution = current_execution.get()
        key = place(execution.docket, execution.key)
        async with bounded():
            stored = await _store.fetch(execution.docket, key)
        if stored is None:
            raise ValueError("nothing was put there")
        self._path.read(stored.value, key)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        execution: Execution = current_execution.get()
        key = place(execution.docket, execution.key)
        async with bounded():
            await _store.expire_unless_superseded(execution.docket, key, SHORTENED, execution.key, execution.generation)


class Libraries(Journeys):
    """pydantic and cryptography, at their work."""

    def __init__(self) -> None:
        super().__init__()
        self._codec = codec_for(load_settings())
        self._token = access_token(None)

    def written(self, number: int, key: str) -> bytes:
        record = {
            "access_token_json": self._token.model_dump_json(),
            "http_headers": callers.headers(number, None),
            "origin_request_id": callers.request_id(number),
            "session_id": callers.SESSION,
            "captured_at": time.time(),
            "stored_at": time.time(),
            "ttl": TTL,
        }
        return self._codec.encode(dump_json(record), key)

    def read(self, stored: bytes, key: str) -> None:
        record = Record.model_validate_json(self._codec.decode(stored, key))
        AccessToken.model_validate_json(record.access_token_json or "")


STEPS: dict[str, Callable[[], Path]] = {"idle": Idle, "journeys": Journeys, "libraries": Libraries}
"""By the names of their variants."""
