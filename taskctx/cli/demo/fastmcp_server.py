"""The server process of ``taskctx demo --fastmcp``; worker processes load this file too.

Prints its URL.  Its tools tell what they see of their caller, and that FastMCP's own getters see the same.
"""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import timedelta
from typing import Any

import uvicorn
from docket import Docket
from docket.dependencies import current_worker
from fastmcp import FastMCP
from fastmcp.server import dependencies
from fastmcp.server.auth import AccessToken, TokenVerifier
from fastmcp.utilities.tasks import TaskConfig
from fastmcp_tasks import TasksExtension
from opentelemetry import trace
from prometheus_client import REGISTRY, start_http_server
from prometheus_client.exposition import choose_encoder
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import taskctx

# absolute, because FastMCP's worker loads this file by its path
from taskctx.cli.demo import child, server, tasks
from taskctx.cli.demo.identity import verify
from taskctx.cli.demo.sighting import Sighting
from taskctx.fastmcp import instrument

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]

AS_TASK = TaskConfig(mode="required", poll_interval=timedelta(milliseconds=50))

child.prepare()
instrument()


class Verifier(TokenVerifier):
    """Knows the tokens that the demo issued."""

    async def verify_token(self, token: str) -> AccessToken | None:
        claims = verify(bytes.fromhex(os.environ[server.SIGNING_KEY]), token)
        if claims is None:
            return None
        return AccessToken(
            token=token,
            client_id=claims["client_id"],
            scopes=claims["scope"].split(),
            expires_at=claims["exp"],
            claims=claims,
        )


mcp: FastMCP = FastMCP("taskctx-demo", auth=Verifier())
mcp.add_extension(
    TasksExtension(
        url=os.environ[server.URL],
        name=os.environ[server.DOCKET],
        worker_name=os.environ[child.NAME],
        concurrency=int(os.environ.get(server.WORKER_CONCURRENCY, server.CONCURRENCY)),
    )
)
mounted: FastMCP = FastMCP("mounted")
mcp.mount(mounted, namespace="mounted")


async def report(number: int) -> dict[str, Any]:
    """Tell what this task sees of its caller."""
    docket_span = trace.get_current_span()
    with tasks.tracer.start_as_current_span(tasks.BODY):
        context = tasks.see(docket_span)
        ours, theirs = taskctx.get_access_token(), dependencies.get_access_token()
        if (ours and ours.token) != (theirs and theirs.token):
            raise LookupError("FastMCP's getter sees another caller")
        # the client has headers of its own, and which session it is in is not known to who called it
        headers = {name: value for name, value in context.headers.items() if name.startswith("x-")}
        context = context.model_copy(update={"headers": headers, "session_id": None})
        return Sighting(number=number, worker=current_worker.get().name, context=context).model_dump()


mcp.tool(report, task=AS_TASK)
mounted.tool(report, task=AS_TASK)


@mcp.custom_route("/workers", methods=["GET"])
async def workers(_: Request) -> Response:
    """``GET /workers``: the names of those that are ready to work."""
    async with Docket(name=os.environ[server.DOCKET], url=os.environ[server.URL]) as docket:
        return JSONResponse([worker.name for worker in await docket.workers()])


@mcp.custom_route("/metrics", methods=["GET"])
async def metrics(request: Request) -> Response:
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(REGISTRY), headers={"content-type": content_type})


def serve() -> None:
    with socket.create_server((server.HOST, 0)) as listener:
        print(f"http://{server.HOST}:{listener.getsockname()[1]}", flush=True)  # noqa: T201 - the demo reads it
        app = mcp.http_app()
        app.router.lifespan_context = _swept(app.router.lifespan_context)
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
        uvicorn.Server(config).run(sockets=[listener])


def _swept(lifespan: Lifespan) -> Lifespan:
    """As ``lifespan``; afterwards nothing of the docket is left on the server."""

    @asynccontextmanager
    async def swept(app: Any) -> AsyncGenerator[Any]:
        async with lifespan(app) as state:
            yield state
        with suppress(RedisError, OSError, TimeoutError):
            async with Docket(name=os.environ[server.DOCKET], url=os.environ[server.URL]) as docket:
                await server.sweep(docket)

    return swept


if server.WORKER_METRICS_PORT in os.environ:
    # a worker has no HTTP server of its own
    start_http_server(int(os.environ[server.WORKER_METRICS_PORT]), addr=server.HOST)

if __name__ == "__main__":
    serve()
