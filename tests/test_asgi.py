"""The middleware: real requests to real applications."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from traceback import walk_stack, walk_tb
from typing import Annotated, Any

import django
import fastapi
import httpx
import pytest
from django.conf import settings
from docket import Docket, Worker
from opentelemetry import baggage, trace
from starlette.applications import Starlette
from starlette.authentication import (
    AuthCredentials,
    AuthenticationBackend,
    BaseUser,
    SimpleUser,
    UnauthenticatedUser,
)
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

import taskctx
from taskctx._caller.caller import ANONYMOUS, current_caller
from taskctx.asgi import Scope, TaskContextMiddleware
from taskctx.errors import InvalidType
from tests import secrets
from tests.frames import of_ours, shown, shown_here
from tests.secrets import secret
from tests.serving import serving

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


async def whoami(request: Request) -> Response:
    """Everything there is to see of the caller."""
    token = taskctx.get_access_token()
    span = trace.get_current_span().get_span_context()
    return JSONResponse(
        {
            "token": None if token is None else token.model_dump(),
            "scope": taskctx.get_task_scope(),
            "headers": taskctx.get_http_headers(),
            "request_id": taskctx.get_request_id(),
            "session_id": current_caller.get().session_id,
            "trace_id": format(span.trace_id, "032x") if span.is_valid else None,
            "baggage": dict(baggage.get_all()),
        }
    )


def client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server")


def application(*middleware: Middleware, **options: Any) -> Starlette:
    return Starlette(routes=[Route("/whoami", whoami)], middleware=list(middleware), **options)


OURS = Middleware(TaskContextMiddleware)


async def ask(app: Any, headers: Any = None) -> dict[str, Any]:
    async with client(app) as http:
        response = await http.get("/whoami", headers=headers)
    assert response.status_code == 200
    return response.json()


# ---- headers and ids ----


async def test_a_handler_sees_its_request() -> None:
    """Headers in lower case, the request's id and the session's; and no caller is left behind."""
    seen = await ask(
        application(OURS),
        {"X-Tenant": "acme", "X-Request-Id": "request-1", "Mcp-Session-Id": secret("session")},
    )
    assert seen["headers"]["x-tenant"] == "acme"
    assert seen["headers"]["host"] == "server"
    assert (seen["request_id"], seen["session_id"]) == ("request-1", secret("session"))
    assert (seen["token"], seen["scope"]) == (None, None)
    assert current_caller.get() is ANONYMOUS


async def test_a_request_without_ids_has_none() -> None:
    """Nothing is made up."""
    seen = await ask(application(OURS))
    assert (seen["request_id"], seen["session_id"], seen["trace_id"], seen["baggage"]) == (None, None, None, {})


async def test_what_surrounds_the_server_is_not_the_requests() -> None:
    """A request's caller is its own as a whole."""
    with taskctx.bind_caller(access_token=secrets.token(), request_id="of the server", session_id="of the server"):
        seen = await ask(application(OURS))
    assert (seen["token"], seen["request_id"], seen["session_id"]) == (None, None, None)


async def test_repeated_headers_are_joined() -> None:
    """Repeated headers are joined with commas in their order, and cookies with semicolons."""
    seen = await ask(
        application(OURS),
        [("X-Forwarded-For", "1.1.1.1"), ("x-forwarded-for", "2.2.2.2"), ("Cookie", "a=1"), ("Cookie", "b=2")],
    )
    assert seen["headers"]["x-forwarded-for"] == "1.1.1.1, 2.2.2.2"
    assert seen["headers"]["cookie"] == "a=1; b=2"


async def test_a_header_repeated_very_often_is_joined_too() -> None:
    """Each repetition is copied once, however many there are: the cost grows no faster than the request."""
    numbers = [str(number) for number in range(100_000)]
    raw = [(b"x-number", number.encode()) for number in numbers] + [(b"cookie", b"a=1")] * 100_000
    seen: list[dict[str, str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(taskctx.get_http_headers())

    await TaskContextMiddleware(app)({"type": "http", "headers": raw}, _nothing, _nothing)
    [headers] = seen
    assert headers["x-number"] == ", ".join(numbers)
    assert headers["cookie"] == "; ".join(["a=1"] * 100_000)


async def _nothing(*_: Any) -> Any: ...


async def test_header_bytes_of_any_kind() -> None:
    """HTTP's headers are latin-1; whatever the bytes are, nothing raises and nothing is lost."""
    seen = await ask(application(OURS), [(b"X-Name", "Müller".encode("latin-1")), (b"X-Raw", "漢\xff".encode())])
    assert seen["headers"]["x-name"] == "Müller"
    assert seen["headers"]["x-raw"].encode("latin-1") == "漢\xff".encode()


async def test_concurrent_requests_do_not_mix() -> None:
    """Twenty handlers wait for each other, and each sees its own caller."""
    everyone = asyncio.Barrier(20)

    async def handler(request: Request) -> Response:
        before = taskctx.get_request_id()
        await everyone.wait()
        return JSONResponse([before, taskctx.get_request_id(), taskctx.get_http_headers()["x-tenant"]])

    app = Starlette(routes=[Route("/", handler)], middleware=[OURS])
    async with client(app) as http:
        answers = await asyncio.gather(
            *(http.get("/", headers={"X-Request-Id": f"r-{n}", "X-Tenant": f"t-{n}"}) for n in range(20))
        )
    assert [answer.json() for answer in answers] == [[f"r-{n}", f"r-{n}", f"t-{n}"] for n in range(20)]


async def test_a_streamed_answer_has_its_caller_to_the_end() -> None:
    """Chunk by chunk."""

    async def handler(request: Request) -> Response:
        async def chunks() -> AsyncIterator[str]:
            for _ in range(3):
                await asyncio.sleep(0)
                yield f"{taskctx.get_request_id()} "

        return StreamingResponse(chunks())

    app = Starlette(routes=[Route("/", handler)], middleware=[OURS])
    async with client(app) as http:
        assert (await http.get("/", headers={"X-Request-Id": "r"})).text == "r r r "


# ---- trace context ----


async def test_the_requests_trace_goes_on() -> None:
    """Where no instrumentation has started a span."""
    seen = await ask(application(OURS), {"traceparent": TRACEPARENT, "baggage": "tenant=acme"})
    assert (seen["trace_id"], seen["baggage"]) == (TRACE_ID, {"tenant": "acme"})
    assert not trace.get_current_span().get_span_context().is_valid
    assert baggage.get_all() == {}


async def test_the_servers_own_span_is_left_alone() -> None:
    """Where an instrumentation has started one, it has read the headers too."""
    app = application(OURS)
    traces: list[str] = []

    async def instrumented(scope: Scope, receive: Any, send: Any) -> None:
        with trace.get_tracer("server").start_as_current_span("GET /whoami") as span:
            traces.append(format(span.get_span_context().trace_id, "032x"))
            await app(scope, receive, send)

    seen = await ask(instrumented, {"traceparent": TRACEPARENT, "baggage": "tenant=acme"})
    assert (seen["trace_id"], seen["baggage"]) == (traces[0], {})


@pytest.mark.parametrize("traceparent", ["", "nonsense", "00-" + "0" * 32 + "-b7ad6b7169203331-01"])
async def test_a_traceparent_that_is_none(traceparent: str) -> None:
    """The request goes on without a trace."""
    assert (await ask(application(OURS), {"traceparent": traceparent}))["trace_id"] is None


# ---- who it is ----


class Backend(AuthenticationBackend):
    """Starlette's authentication with a bearer token that says who comes."""

    def __init__(self, user: BaseUser | None = None) -> None:
        self.user = user

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        name = conn.headers.get("authorization", "").removeprefix("Bearer ").partition("-")[0]
        if not name:
            return None
        return AuthCredentials(["authenticated", "reports"]), self.user or SimpleUser(name)


AUTHENTICATION = Middleware(AuthenticationMiddleware, backend=Backend())


@pytest.mark.parametrize(
    "middleware", [(OURS, AUTHENTICATION), (AUTHENTICATION, OURS)], ids=["ours outside", "ours inside"]
)
async def test_starlettes_user_is_the_caller(middleware: tuple[Middleware, ...]) -> None:
    """The middleware finds the user, whether it is outside or inside of the authentication middleware."""
    app = application(*middleware)
    seen = await ask(app, {"Authorization": f"Bearer {secret('ada')}"})
    assert seen["token"] == {
        "token": secret("ada"),
        "client_id": "ada",
        "scopes": ["authenticated", "reports"],
        "expires_at": None,
        "resource": None,
        "claims": None,
    }
    assert seen["scope"] == "ada"
    anonymous = await ask(app)
    assert (anonymous["token"], anonymous["scope"]) == (None, None)


class NameOnly(BaseUser):
    """As Starlette's SimpleUser was: its identity is not implemented."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def is_authenticated(self) -> bool:
        return True

    @property
    def display_name(self) -> str:
        return self.name


async def test_a_user_without_an_identity_goes_by_its_name() -> None:
    """``identity`` may raise NotImplementedError."""
    with pytest.raises(NotImplementedError):
        _ = NameOnly("ada").identity
    app = application(OURS, Middleware(AuthenticationMiddleware, backend=Backend(NameOnly("ada"))))
    assert (await ask(app, {"Authorization": "Bearer x"}))["scope"] == "ada"


async def test_a_user_without_any_name_is_refused() -> None:
    """It is authenticated, so it must not pass for an anonymous caller."""
    app = application(OURS, Middleware(AuthenticationMiddleware, backend=Backend(NameOnly(""))))
    async with client(app) as http:
        with pytest.raises(InvalidType, match="neither an identity nor a display_name"):
            await http.get("/whoami", headers={"Authorization": "Bearer x"})


@pytest.mark.parametrize("middleware", [(OURS,), (OURS, AUTHENTICATION)])
async def test_a_bearer_header_that_nobody_verified_is_no_identity(middleware: Sequence[Middleware]) -> None:
    """Without authentication, or after it found no user, the request is anonymous."""
    seen = await ask(application(*middleware), {"Authorization": "Bearer "})
    assert (seen["token"], seen["scope"]) == (None, None)
    if len(middleware) == 1:
        seen = await ask(application(*middleware), {"Authorization": f"Bearer {secret('ada')}"})
        assert (seen["token"], seen["scope"]) == (None, None)


async def test_an_unauthenticated_user_has_no_token() -> None:
    """Though it sends a bearer header."""
    app = application(OURS, Middleware(AuthenticationMiddleware, backend=Backend(UnauthenticatedUser())))
    seen = await ask(app, {"Authorization": f"Bearer {secret('ada')}"})
    assert (seen["token"], seen["scope"]) == (None, None)


class Guest:
    """Its user class answers by a method, and gives nobodies a name too."""

    identity = "guest"

    def __init__(self, *, known: bool) -> None:
        self.known = known

    def is_authenticated(self) -> bool:
        return self.known


@pytest.mark.parametrize(("known", "scope"), [(False, None), (True, "guest")])
async def test_a_user_who_says_by_a_method_whether_it_is_authenticated(known: bool, scope: str | None) -> None:
    """The answer counts: a method itself is always true."""
    app = application(OURS, Middleware(AuthenticationMiddleware, backend=Backend(Guest(known=known))))  # type: ignore[arg-type]
    assert (await ask(app, {"Authorization": "Bearer x"}))["scope"] == scope


@dataclass
class McpAccessToken:
    """Shaped like the MCP SDK's."""

    token: str
    client_id: str
    scopes: list[str]
    expires_at: int | None = None
    resource: str | None = None
    claims: dict[str, Any] | None = None


class McpUser(SimpleUser):
    """Shaped like the MCP SDK's ``AuthenticatedUser``: its name is the client, and it holds the token."""

    def __init__(self, access_token: McpAccessToken) -> None:
        super().__init__(access_token.client_id)
        self.access_token = access_token


def django_users() -> tuple[Any, Any]:
    """Instances of Django's own classes: a user, and the anonymous user."""
    if not settings.configured:
        configure: Any = settings.configure  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        configure(INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"])
        django.setup()
    from django.contrib.auth.models import AnonymousUser, User  # noqa: PLC0415 - needs the settings

    return User(username="ada", pk=7), AnonymousUser()


async def test_a_django_user_is_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    """The caller's scope is the username in ``scope["user"]``; Django's anonymous user is an anonymous caller."""
    ada, nobody = django_users()
    for user, scope in ((ada, "ada"), (nobody, None)):
        app = application(OURS, Middleware(AuthenticationMiddleware, backend=Backend(user)))
        assert (await ask(app, {"Authorization": "Bearer x"}))["scope"] == scope
    assert not [record for record in caplog.records if record.name == "taskctx"]


class Numbered:
    """Of another make: it has nothing but a key."""

    is_authenticated = True
    pk = 7


async def test_a_user_with_a_key_alone_goes_by_it() -> None:
    """The caller's scope is the user's ``pk`` as text."""
    app = application(OURS, Middleware(AuthenticationMiddleware, backend=Backend(Numbered())))  # type: ignore[arg-type]
    assert (await ask(app, {"Authorization": "Bearer x"}))["scope"] == "7"


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """An application that never asks for the caller."""


class WithoutAName:
    is_authenticated = True


@pytest.mark.parametrize("user", [{"sub": secret("ada")}, secret("ada"), object(), WithoutAName()])
async def test_a_user_of_another_make_is_one_error_at_the_first_request(
    user: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """That says what kind of object it is and what to do; no task needs to be submitted for it."""
    app = TaskContextMiddleware(silent)
    for _ in range(3):
        await app({"type": "http", "headers": [], "user": user}, _nothing, _nothing)
    (record,) = [record for record in caplog.records if record.name == "taskctx"]
    assert record.levelname == "ERROR"
    assert f"an object of type {type(user).__name__}," in record.getMessage()
    assert "taskctx.identify" in record.getMessage()


class Person:
    """Says how often it is looked at."""

    looks = 0

    def __init__(self, *, is_known: bool, name: str | None) -> None:
        self._is_known, self._name = is_known, name

    @property
    def is_authenticated(self) -> bool:
        type(self).looks += 1
        return self._is_known

    @property
    def identity(self) -> str | None:
        return self._name


@pytest.mark.parametrize(("name", "lines"), [("ada", 0), (None, 1)])
async def test_users_are_looked_at_until_one_of_their_type_is_authenticated(
    name: str | None, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    """The middleware judges a type once, because looking at a user may load it."""

    class User(Person): ...

    app = TaskContextMiddleware(silent)
    for user in [User(is_known=False, name=None), *(User(is_known=True, name=name) for _ in range(3))]:
        await app({"type": "http", "headers": [], "user": user}, _nothing, _nothing)
    assert User.looks == 2
    assert len([record for record in caplog.records if record.name == "taskctx"]) == lines


async def test_a_user_of_another_make_is_no_error_where_the_caller_is_identified(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The application knows better."""

    async def identifying(scope: Any, receive: Any, send: Any) -> None:
        taskctx.identify(access_token=secrets.token("ada", sub=None))
        assert taskctx.get_task_scope() == "ada"

    await TaskContextMiddleware(identifying)(
        {"type": "http", "headers": [], "user": WithoutAName()}, _nothing, _nothing
    )
    assert not [record for record in caplog.records if record.name == "taskctx"]


async def test_a_user_who_raises_when_it_is_looked_at_fails_no_request(caplog: pytest.LogCaptureFixture) -> None:
    """A lazy user object that raises does not fail the request."""

    class Lazy:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError("not loaded")

    await TaskContextMiddleware(silent)({"type": "http", "headers": [], "user": Lazy()}, _nothing, _nothing)


async def test_a_user_that_holds_its_token_gives_it() -> None:
    """The MCP SDK's does: with its claims, and so with its subject."""
    user = McpUser(McpAccessToken(secret("token"), "reports-app", ["reports"], 2_000_000_000, None, {"sub": "ada"}))
    app = application(OURS, Middleware(AuthenticationMiddleware, backend=Backend(user)))
    seen = await ask(app, {"Authorization": f"Bearer {secret('bearer')}"})
    assert seen["scope"] == "reports-app|ada"
    assert seen["token"]["token"] == secret("token")
    assert seen["token"]["expires_at"] == 2_000_000_000


async def test_a_user_whose_token_is_none_is_refused() -> None:
    """Where it is asked for; the message has no value."""
    user = McpUser(McpAccessToken(secret("token"), "reports-app", secret("scope")))  # type: ignore[arg-type]
    app = application(OURS, Middleware(AuthenticationMiddleware, backend=Backend(user)))
    async with client(app) as http:
        with pytest.raises(InvalidType, match=r"McpAccessToken is at fault in: scopes$"):
            await http.get("/whoami", headers={"Authorization": "Bearer x"})


@pytest.mark.parametrize("scopes", [[1], "reports", 7])
async def test_scopes_that_are_none_are_refused(scopes: Any) -> None:
    """An authentication backend's scopes must be strings."""

    class Odd(Backend):
        async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
            credentials = AuthCredentials()
            credentials.scopes = scopes
            return credentials, SimpleUser("ada")

    app = application(OURS, Middleware(AuthenticationMiddleware, backend=Odd()))
    async with client(app) as http:
        with pytest.raises(InvalidType, match="scopes"):
            await http.get("/whoami")


# ---- FastAPI ----


async def test_fastapi(docket: Docket, worker: Worker) -> None:
    """A task submitted by an endpoint sees the endpoint's caller."""
    seen: list[tuple[str | None, str | None]] = []

    async def report() -> None:
        seen.append((taskctx.get_task_scope(), taskctx.get_request_id()))

    app = fastapi.FastAPI()
    app.add_middleware(AuthenticationMiddleware, backend=Backend())
    app.add_middleware(TaskContextMiddleware)

    @app.post("/reports")
    async def create() -> str:  # pyright: ignore[reportUnusedFunction]
        return (await taskctx.add(docket, report)()).key

    async with client(app) as http:
        for name in ("ada", "bob"):
            headers = {"Authorization": f"Bearer {secret(name)}", "X-Request-Id": f"request of {name}"}
            assert (await http.post("/reports", headers=headers)).json().startswith(f"auth:{name}:")
    await worker.run_until_finished()

    assert sorted(seen, key=str) == [("ada", "request of ada"), ("bob", "request of bob")]


async def test_fastapis_dependencies_can_bind_the_caller() -> None:
    """An async dependency with ``yield``: where authentication is a dependency, and no middleware."""
    app = fastapi.FastAPI()

    async def authenticated(request: Request) -> AsyncGenerator[None]:
        token = secrets.token(request.headers["x-client"], sub=None)
        with taskctx.bind_caller(access_token=token, headers=request.headers):
            yield

    @app.get("/async", dependencies=[fastapi.Depends(authenticated)])
    async def asynchronous() -> str | None:  # pyright: ignore[reportUnusedFunction]
        return taskctx.get_task_scope()

    @app.get("/sync", dependencies=[fastapi.Depends(authenticated)])
    def synchronous() -> str | None:  # pyright: ignore[reportUnusedFunction]
        return taskctx.get_task_scope()

    async with client(app) as http:
        paths = ["/async", "/sync"] * 10
        answers = await asyncio.gather(
            *(http.get(path, headers={"X-Client": f"client-{n}"}) for n, path in enumerate(paths))
        )
    assert [answer.json() for answer in answers] == [f"client-{n}" for n in range(20)]
    assert current_caller.get() is ANONYMOUS


def tenant_of_request() -> str:
    return taskctx.get_http_headers()["x-tenant"]


async def test_endpoints_in_the_threadpool() -> None:
    """FastAPI runs sync endpoints and dependencies in threads; the caller is there too."""
    app = fastapi.FastAPI()
    app.add_middleware(TaskContextMiddleware)

    @app.get("/")
    def endpoint(tenant: Annotated[str, fastapi.Depends(tenant_of_request)]) -> list[str | None]:  # pyright: ignore[reportUnusedFunction]
        return [tenant, taskctx.get_request_id()]

    async with client(app) as http:
        answers = await asyncio.gather(
            *(http.get("/", headers={"X-Tenant": f"t-{n}", "X-Request-Id": f"r-{n}"}) for n in range(20))
        )
    assert [answer.json() for answer in answers] == [[f"t-{n}", f"r-{n}"] for n in range(20)]


# ---- mounted applications ----


def mounting(inner: Starlette, *middleware: Middleware) -> Starlette:
    return Starlette(routes=[Mount("/mounted", inner)], middleware=[OURS, *middleware])


async def ask_mounted(app: Any) -> dict[str, Any]:
    async with client(app) as http:
        headers = {"Authorization": f"Bearer {secret('ada')}", "X-Request-Id": "r"}
        return (await http.get("/mounted/whoami", headers=headers)).json()


class Authenticating:
    """An application's own middleware, which names the caller for the application that it wraps."""

    def __init__(self, app: Any, name: str, *, with_block: bool) -> None:
        self.app, self.name, self.with_block = app, name, with_block

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        token = secrets.token(self.name, sub=None)
        if scope["type"] == "lifespan" or not self.with_block:
            taskctx.identify(access_token=token)
            await self.app(scope, receive, send)
        else:
            with taskctx.bind_caller(access_token=token, request_id="bound"):
                await self.app(scope, receive, send)


async def test_a_mounted_application_with_a_middleware_of_its_own_keeps_who_was_identified() -> None:
    """It is the same request."""
    outside = Middleware(Authenticating, "ada", with_block=False)
    assert (await ask_mounted(mounting(application(OURS), outside)))["scope"] == "ada"


async def test_a_mounted_application_with_a_middleware_of_its_own_keeps_what_was_bound() -> None:
    """The mounted application sees the whole caller that an outer block has bound."""
    seen = await ask_mounted(mounting(application(OURS), Middleware(Authenticating, "ada", with_block=True)))
    assert (seen["scope"], seen["request_id"]) == ("ada", "bound")


async def test_who_is_identified_in_a_mounted_application_is_the_requests_caller() -> None:
    """Outside of it as well, for what comes afterwards."""
    afterwards: list[str | None] = []

    class Afterwards:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)
            afterwards.append(taskctx.get_task_scope())

    inner = application(OURS, Middleware(Authenticating, "ada", with_block=False))
    assert (await ask_mounted(mounting(inner, Middleware(Afterwards))))["scope"] == "ada"
    assert afterwards == ["ada"]


async def test_a_mounted_application_may_authenticate_by_itself() -> None:
    """Its own user is the caller there, though its scope may be a copy."""
    inner = application(OURS, AUTHENTICATION)

    async def copying(scope: Any, receive: Any, send: Any) -> None:
        await inner(dict(scope), receive, send)

    for app in (mounting(inner), TaskContextMiddleware(Starlette(routes=[Mount("/mounted", copying)]))):
        assert (await ask_mounted(app))["scope"] == "ada"


async def test_a_mounted_applications_server_is_the_one_of_its_own_middleware() -> None:
    """Outside of it, the server is the one of the outer middleware."""
    servers: list[object] = []

    async def handler(request: Request) -> Response:
        servers.append(current_caller.get().server)
        return PlainTextResponse("")

    def serving_as(server: object, *routes: Any) -> Starlette:
        return Starlette(routes=list(routes), middleware=[Middleware(TaskContextMiddleware, server=server)])

    app = serving_as("outer", Mount("/mounted", serving_as("inner", Route("/", handler))), Route("/", handler))
    async with client(app) as http:
        await http.get("/mounted/")
        await http.get("/")
    assert servers == ["inner", "outer"]


# ---- nothing for error reporters to send ----


CREDENTIALS = {
    "Authorization": f"Bearer {secret('bearer')}",
    "Cookie": f"session={secret('cookie')}",
    "X-Tenant": secret("tenant"),
    "Mcp-Session-Id": secret("session"),
    "baggage": f"tenant={secret('baggage')}",
    "traceparent": TRACEPARENT,
}


async def failing_handler(scope: Scope, receive: Any, send: Any) -> None:
    assert taskctx.get_http_headers()["cookie"]
    await asyncio.sleep(0)
    raise RuntimeError("boom")


def failing_at_once(scope: Scope, receive: Any, send: Any) -> Any:
    assert taskctx.get_http_headers()["cookie"]
    raise RuntimeError("boom")


def handing_on(scope: Scope, receive: Any, send: Any) -> Any:
    assert taskctx.get_http_headers()["cookie"]
    return failing_handler(scope, receive, send)


@pytest.mark.parametrize("handler", [failing_handler, failing_at_once, handing_on])
async def test_an_exception_shows_no_credentials_in_locals(handler: Any) -> None:
    """The frames of taskctx hold no credential; the application's own frames may."""
    async with client(TaskContextMiddleware(handler)) as http:
        with pytest.raises(RuntimeError, match="boom") as caught:
            await http.get("/", headers=CREDENTIALS)
    frames = [frame.f_globals["__name__"] for frame, _ in walk_tb(caught.value.__traceback__)]
    assert "taskctx.asgi" in frames
    assert shown(caught.value) == []
    assert current_caller.get() is ANONYMOUS


async def test_the_stack_of_a_handler_shows_no_credentials_in_locals() -> None:
    """What a handler logs with its stack, and handles, is sent as well."""
    found: list[str] = []

    async def handler(scope: Scope, receive: Any, send: Any) -> None:
        ours = [frame for frame, _ in walk_stack(inspect.currentframe()) if of_ours(frame)]
        found.extend(shown_here())
        assert ours

    scope = {"type": "http", "headers": [(b"authorization", CREDENTIALS["Authorization"].encode())]}
    await TaskContextMiddleware(handler)(scope, _nothing, _nothing)
    assert found == []


async def test_a_lifespan_that_fails_shows_no_credentials_in_locals() -> None:
    """Its state may have some."""

    async def failing(scope: Scope, receive: Any, send: Any) -> None:
        raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom") as caught:
        await TaskContextMiddleware(failing)(
            {"type": "lifespan", "state": {"password": secret("password")}}, _nothing, _nothing
        )
    assert shown(caught.value) == []


@pytest.mark.parametrize(
    "user",
    [NameOnly(""), McpUser(McpAccessToken(secret("token"), "reports-app", secret("scope")))],  # type: ignore[arg-type]
    ids=["no name", "no token"],
)
async def test_a_user_who_is_refused_shows_no_credentials_in_locals(user: BaseUser) -> None:
    """That exception is ours, and passes the handler."""
    app = application(OURS, Middleware(AuthenticationMiddleware, backend=Backend(user)))
    async with client(app) as http:
        with pytest.raises(InvalidType) as caught:
            await http.get("/whoami", headers=CREDENTIALS)
    assert shown(caught.value) == []


async def test_a_request_that_is_cancelled_leaves_no_caller_behind() -> None:
    """The asyncio task that served the request is anonymous after the cancellation."""
    began = asyncio.Event()

    async def waiting(scope: Scope, receive: Any, send: Any) -> None:
        began.set()
        await asyncio.Event().wait()

    async def serve() -> object:
        with pytest.raises(asyncio.CancelledError):
            await TaskContextMiddleware(waiting)({"type": "http", "headers": []}, _nothing, _nothing)
        return current_caller.get()

    serving_it = asyncio.create_task(serve())
    await began.wait()
    serving_it.cancel()
    assert await serving_it is ANONYMOUS


# ---- the rest of ASGI ----


def test_servers_see_an_asgi_3_application() -> None:
    """They go by whether calling it gives a coroutine; uvicorn takes what does not for ASGI 2."""
    assert inspect.iscoroutinefunction(TaskContextMiddleware(failing_handler).__call__)


async def test_an_exception_goes_on_as_it_is() -> None:
    """The same exception reaches the client, and no caller stays bound."""
    error = RuntimeError("boom")

    async def failing(scope: Scope, receive: Any, send: Any) -> None:
        assert taskctx.get_request_id() == "r"
        raise error

    async with client(TaskContextMiddleware(failing)) as http:
        with pytest.raises(RuntimeError) as caught:
            await http.get("/", headers={"X-Request-Id": "r", "traceparent": TRACEPARENT})
    assert caught.value is error
    assert current_caller.get() is ANONYMOUS
    assert not trace.get_current_span().get_span_context().is_valid


async def test_the_lifespan_passes_through() -> None:
    """It is no request, and has no caller."""
    events: list[object] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        events.extend(("started", current_caller.get()))
        yield
        events.append("stopped")

    async with serving(application(OURS, lifespan=lifespan)):
        assert events == ["started", ANONYMOUS]
    assert events == ["started", ANONYMOUS, "stopped"]


async def test_a_websocket_has_a_caller() -> None:
    """The caller is bound from the handshake to the end of the WebSocket."""

    async def talk(socket_: WebSocket) -> None:
        await socket_.accept()
        async for text in socket_.iter_text():
            await socket_.send_text(f"{text} {taskctx.get_request_id()} {taskctx.get_task_scope()}")

    app = Starlette(routes=[WebSocketRoute("/talk", talk)], middleware=[OURS, AUTHENTICATION])
    sent: list[str] = []
    received = iter(
        [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "text": "hello"},
            {"type": "websocket.receive", "text": "again"},
            {"type": "websocket.disconnect", "code": 1000},
        ]
    )

    async def receive() -> Any:
        return next(received)

    async def send(message: Any) -> None:
        if message["type"] == "websocket.send":
            sent.append(message["text"])

    headers = [(b"x-request-id", b"r"), (b"authorization", b"Bearer ada")]
    scope = {"type": "websocket", "path": "/talk", "query_string": b"", "headers": headers, "subprotocols": []}
    await app(scope, receive, send)
    assert sent == ["hello r ada", "again r ada"]
    assert current_caller.get() is ANONYMOUS


async def test_a_server_given_to_the_middleware_is_found_by_its_tasks(docket: Docket, worker: Worker) -> None:
    """A task that runs in the server's process finds the server object."""
    seen: list[object] = []

    class Server: ...

    server = Server()

    async def report() -> None:
        task = taskctx.get_task_context()
        assert task is not None
        seen.append(taskctx.get_task_server(task.task_id))

    async def create(request: Request) -> Response:
        await taskctx.add(docket, report)()
        return PlainTextResponse("created")

    app = Starlette(routes=[Route("/", create)], middleware=[Middleware(TaskContextMiddleware, server=server)])
    async with client(app) as http:
        await http.get("/")
    await worker.run_until_finished()
    assert seen == [server]


@pytest.mark.parametrize("wrong", [None, "app", 7])
def test_it_wraps_an_application(wrong: Any) -> None:
    """Anything else is refused where it is made."""
    with pytest.raises(InvalidType, match="wraps an ASGI application"):
        TaskContextMiddleware(wrong)


# ---- over the wire ----


async def test_from_a_socket_to_a_task(docket: Docket, worker: Worker) -> None:
    """A real server, real requests of several callers at once, and a real worker."""
    seen: dict[str | None, tuple[object, ...]] = {}

    async def report() -> None:
        token = taskctx.get_access_token()
        seen[taskctx.get_task_scope()] = (
            None if token is None else token.token,
            taskctx.get_request_id(),
            taskctx.get_http_headers().get("x-tenant"),
            taskctx.get_task_session_id(),
            baggage.get_baggage("tenant"),
        )

    async def create(request: Request) -> Response:
        await taskctx.add(docket, report)()
        return PlainTextResponse("created")

    app = Starlette(routes=[Route("/reports", create, methods=["POST"])], middleware=[OURS, AUTHENTICATION])
    names = ["ada", "bob", "eve"]
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as http:
        answers = await asyncio.gather(
            *(
                http.post(
                    "/reports",
                    headers={
                        "Authorization": f"Bearer {secret(name)}",
                        "X-Request-Id": f"r-{name}",
                        "X-Tenant": f"t-{name}",
                        "Mcp-Session-Id": f"s-{name}",
                        "baggage": f"tenant=b-{name}",
                    },
                )
                for name in names
            )
        )
    assert {answer.status_code for answer in answers} == {200}
    await worker.run_until_finished()

    assert seen == {name: (secret(name), f"r-{name}", f"t-{name}", f"s-{name}", f"b-{name}") for name in names}
