"""The submitter process: reads one request from stdin as JSON, adds a task as its caller, prints the task's key."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from docket import Docket
from opentelemetry import context, propagate

import taskctx
from tests.processes import tasks


class DiesWhenAsked(Docket):
    """A docket whose process is killed the moment it is asked to schedule something."""

    def add(self, *_args: Any, **_kwargs: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


async def main(request: dict[str, Any]) -> None:
    kind = DiesWhenAsked if request["dies"] else Docket
    async with kind(name=request["docket"], url=request["url"]) as docket:
        for task in tasks.collection:
            docket.register(task)
        when = datetime.now(UTC) + timedelta(seconds=request["delay"]) if request["delay"] else None
        caller = request["caller"]
        context.attach(propagate.extract(caller["trace"]))
        tasks.LOCALE.set(caller["locale"])
        with taskctx.bind_caller(
            access_token=taskctx.AccessToken(**caller["token"]),
            headers=caller["headers"],
            request_id=caller["request_id"],
            session_id=caller["session_id"],
        ):
            execution = await taskctx.add(docket, request["task"], when=when, key=request["key"])()
    print(json.dumps({"key": execution.key, "pid": os.getpid()}))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(main(json.load(sys.stdin)))
