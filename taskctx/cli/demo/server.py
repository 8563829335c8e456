"""The server process: an ASGI application for the callers' requests, and a worker in the same process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from docket import Docket, Worker
from opentelemetry.trace import SpanKind
from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser, SimpleUser
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Lifespan

import taskctx
from taskctx.asgi import SESSION_ID, TaskContextMiddleware

from . import child, identity, tasks
from .callers import PERPETUAL_RUNS
from .sighting import SERVER, Kind

AHEAD = timedelta(milliseconds=400)


def make() -> Starlette:
    """The application, configured by the environment; also serves the metrics."""
    child.serve_metrics()
    docket = Docket(name=os.environ[child.DOCKET], url=os.environ[child.URL])
    return make_app(docket, bytes.fromhex(os.environ[child.SIGNING_KEY]), lambda _: _working(docket))


def make_app(docket: Docket, signing_key: bytes, lifespan: Lifespan[Starlette]) -> Starlette:
    api = Api(docket)
    app = Starlette(
        routes=[Route("/tasks/{kind}", api.submit, methods=["POST"]), Route("/reports", api.reports)], lifespan=lifespan
    )
    # the middleware that is added last is the outermost
    app.add_middleware(AuthenticationMiddleware, backend=BearerBackend(signing_key), on_error=_refuse)
    app.add_middleware(TaskContextMiddleware, server=app)
    return app


@asynccontextmanager
async def _working(docket: Docket) -> AsyncGenerator[None]:
    """Keep the docket open and a worker running; a crash of the worker ends the server."""
    docket.register_collection(f"{tasks.__name__}:tasks")
    dependencies = taskctx.worker_dependencies
    async with (
        docket,
        Worker(docket, name=SERVER, concurrency=child.CONCURRENCY, dependencies=dependencies) as worker,
        asyncio.TaskGroup() as group,
    ):
        running = group.create_task(worker.run_forever())
        yield
        running.cancel()


@dataclass(frozen=True, eq=False)
class LiveSession:
    """An example of a server's session object, which cannot leave its process."""

    id: str


class Api:
    """The endpoints; they need an open docket."""

    def __init__(self, docket: Docket) -> None:
        self._docket = docket
        self._sessions: dict[str, LiveSession] = {}

    async def submit(self, request: Request) -> Response:
        """``POST /tasks/{kind}``: the middleware has bound the caller; this server adds the live session.

        The span is like one of an OpenTelemetry instrumentation; by the middleware it continues the caller's trace.
        """
        number, failures = int(request.query_params["number"]), int(request.query_params["failures"])
        docket, when = self._docket, datetime.now(UTC) + AHEAD
        session_id = request.headers.get(SESSION_ID)
        session = self._sessions.setdefault(session_id, LiveSession(session_id)) if session_id else None
        with (
            tasks.tracer.start_as_current_span(f"POST {request.url.path}", kind=SpanKind.SERVER),
            taskctx.bind_caller(session=session),
        ):
            key = taskctx.get_request_id()
            match Kind(request.path_params["kind"]):
                case Kind.NOW:
                    await taskctx.add(docket, tasks.report_once, key=key)(number)
                case Kind.AHEAD:
                    await taskctx.add(docket, tasks.report_once, when=when, key=key)(number)
                case Kind.RETRIED:
                    await taskctx.add(docket, tasks.report_retried, key=key)(number, failures)
                case Kind.PERPETUAL:
                    await taskctx.add(docket, tasks.report_perpetual, key=key)(number, 1, PERPETUAL_RUNS)
        return Response(status_code=202)

    async def reports(self, request: Request) -> Response:
        """``GET /reports``: the reports of tasks, from the index ``since`` on."""
        key, since = tasks.reports_key(self._docket), int(request.query_params["since"])
        async with self._docket.redis() as redis:
            found: list[bytes] = await redis.lrange(key, since, -1)
        return Response(b"[" + b",".join(found) + b"]", media_type="application/json")


class User(SimpleUser):
    """Like the MCP SDK's ``AuthenticatedUser``: an authenticated user with the verified token."""

    def __init__(self, access_token: taskctx.AccessToken) -> None:
        super().__init__(access_token.client_id)
        self.access_token = access_token


class BearerBackend(AuthenticationBackend):
    """Without a bearer token a request is anonymous; a request with a token from another issuer is refused."""

    def __init__(self, signing_key: bytes) -> None:
        self._signing_key = signing_key

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        scheme, _, token = conn.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        verified = identity.access_token(self._signing_key, token)
        if verified is None:
            raise AuthenticationError("the bearer token was not issued here")
        return AuthCredentials(verified["scopes"]), User(taskctx.AccessToken(**verified))


def _refuse(_conn: HTTPConnection, error: AuthenticationError) -> Response:
    return PlainTextResponse(str(error), status_code=401, headers={"www-authenticate": "Bearer"})
