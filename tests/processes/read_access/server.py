"""The server process: an ASGI application whose requests submit tasks."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from docket import Docket
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, BaseUser, SimpleUser
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import taskctx
from taskctx.asgi import TaskContextMiddleware
from tests.processes.read_access import emit, tasks
from tests.processes.read_access.words import CALLERS, DOCKET, shown

BY_BEARER = {caller.headers()["authorization"]: caller for caller in CALLERS}

docket = Docket(name=DOCKET, url=os.environ["DOCKET_URL"])


class Bearer(AuthenticationBackend):
    """Knows the callers by their bearer tokens."""

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        caller = BY_BEARER.get(conn.headers.get("authorization", ""))
        return caller and (AuthCredentials([shown("scopes")]), SimpleUser(f"{caller.name}-{shown('client')}"))


async def by_user(request: Request) -> Response:
    """The caller is whom Starlette's middleware says."""
    await taskctx.add(docket, tasks.succeed)(shown("argument"))
    return Response(status_code=202)


async def by_token(request: Request) -> Response:
    """The handler knows the caller's token itself."""
    caller = BY_BEARER[request.headers["authorization"]]
    tasks.carried.set(caller.carried)
    with taskctx.bind_caller(access_token=caller.token()):
        await taskctx.add(docket, tasks.submit_another)()
    return Response(status_code=202)


async def breaking(request: Request) -> Response:
    """Fails in front of uvicorn: the context is too large."""
    with taskctx.bind_caller(headers=dict(request.headers) | {"x-large": request.headers["x-tenant"] * 10_000}):
        await taskctx.add(docket, tasks.succeed)(shown("argument"))
    return Response(status_code=202)


async def metrics(request: Request) -> Response:
    return PlainTextResponse(emit.metrics())


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncGenerator[None]:
    emit.set_up("server")
    async with docket:
        yield


app = Starlette(
    lifespan=lifespan,
    routes=[
        Route("/by-user", by_user, methods=["POST"]),
        Route("/by-token", by_token, methods=["POST"]),
        Route("/breaking", breaking, methods=["POST"]),
        Route("/metrics", metrics),
    ],
    middleware=[Middleware(AuthenticationMiddleware, backend=Bearer()), Middleware(TaskContextMiddleware)],
)
