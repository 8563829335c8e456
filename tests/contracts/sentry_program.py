"""A service and a worker with Sentry, as it comes; prints what it would send.  ``test_sentry.py`` runs it.

In a process of its own: Sentry replaces functions of the libraries that it finds.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import json
import sys
from datetime import timedelta
from typing import Any, ClassVar

import fastapi
import httpx
import sentry_sdk
from docket import Docket, Worker
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

import taskctx
from taskctx.asgi import TaskContextMiddleware
from tests.helpers import redis_key
from tests.secrets import secret

HEADERS = {
    "Authorization": f"Bearer {secret('bearer')}",
    "Cookie": f"session={secret('cookie')}",
    "X-Tenant": secret("tenant"),
    "baggage": f"tenant={secret('baggage')}",
}


class Collecting(Transport):
    """Keeps what it would send."""

    sent: ClassVar[list[Any]] = []

    def capture_envelope(self, envelope: Envelope) -> None:
        self.sent.extend(json.loads(item.get_bytes()) for item in envelope.items)


app = fastapi.FastAPI()
app.add_middleware(TaskContextMiddleware)


@app.get("/{what}")
async def handler(what: str) -> None:
    taskctx.identify(access_token=taskctx.AccessToken(token=secret("token"), client_id="ada"))
    docket: Docket = app.state.docket
    if what == "boom":
        raise RuntimeError("boom")
    if what == "large":
        with taskctx.bind_caller(headers=taskctx.get_http_headers() | {"x-large": "x" * 100_000}):
            await taskctx.add(docket, body)()
    await taskctx.add(docket, body, key=what)()


async def body() -> None:
    assert taskctx.get_access_token()
    raise RuntimeError("in the body")


async def main(url: str) -> None:
    async with Docket(name="sentry", url=url) as docket:
        app.state.docket = docket
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=HEADERS) as http:
            for what in ("boom", "large", "lost", "kept", "kept"):
                await http.get(f"/{what}")
        async with docket.redis() as redis:
            await redis.delete(redis_key(docket, "auth:ada:lost:task:body"))
        soon = timedelta(milliseconds=5)
        async with Worker(
            docket, dependencies=taskctx.worker_dependencies, minimum_check_interval=soon, scheduling_resolution=soon
        ) as worker:
            await worker.run_until_finished()


if __name__ == "__main__":
    sentry_sdk.init(
        dsn="http://key@127.0.0.1/1",
        transport=Collecting,
        traces_sample_rate=1.0,
        attach_stacktrace=True,
        send_default_pii=sys.argv[2] == "pii",
    )
    taskctx.configure(on_restore_failure="fail")
    asyncio.run(main(sys.argv[1]))
    sentry_sdk.flush()
    sys.stdout.write(json.dumps(Collecting.sent))
