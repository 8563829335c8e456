"""``identify``: an authentication dependency of any make says who the caller is, for all of the request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

import httpx
import pytest
from docket import Docket, Worker
from fastapi import BackgroundTasks, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.security import APIKeyHeader
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import taskctx
from taskctx._caller.caller import ANONYMOUS, current_caller
from taskctx.asgi import TaskContextMiddleware
from taskctx.errors import ConfigurationError, InvalidArgument, InvalidType
from tests.frames import shown
from tests.helpers import ADA, BOB
from tests.secrets import MARKER, secret
from tests.serving import serving
from tests.test_asgi import Backend, client

OURS = Middleware(TaskContextMiddleware)


# ---- whatever the dependency is ----


def plain_return() -> int:
    taskctx.identify(access_token=ADA.token)
    return 1


def plain_generator() -> Generator[None]:
    taskctx.identify(access_token=ADA.token)
    yield


async def async_return() -> int:
    taskctx.identify(access_token=ADA.token)
    return 1


async def async_generator() -> AsyncGenerator[None]:
    taskctx.identify(access_token=ADA.token)
    yield


async def a_task_of_its_own() -> None:
    await asyncio.create_task(async_return())  # type: ignore[arg-type]


class Scheme:
    """A security class that wraps one of FastAPI's own."""

    header = APIKeyHeader(name="X-Client")

    async def __call__(self, request: Request) -> str | None:
        name = await self.header(request)
        taskctx.identify(access_token=ADA.token)
        return name


DEPENDENCIES = {
    "plain return": plain_return,
    "plain generator": plain_generator,
    "async return": async_return,
    "async generator": async_generator,
    "a task of its own": a_task_of_its_own,
    "security class": Scheme(),
}


class BrokenOrder(Exception): ...


class Orders:
    """A service whose endpoints submit tasks wherever a request's code can run; ``seen`` says as whom they ran."""

    def __init__(self, docket: Docket, dependency: Any) -> None:
        self.seen: list[tuple[str, str | None]] = []
        self._docket = docket
        self.app = app = FastAPI()
        app.add_middleware(TaskContextMiddleware)
        app.add_exception_handler(BrokenOrder, self._broken)
        whole, function = [Depends(dependency)], [Depends(dependency, scope="function")]
        for path, endpoint in self.endpoints.items():
            app.post(f"/request/{path}", dependencies=whole)(endpoint)
            app.post(f"/function/{path}", dependencies=function)(endpoint)

    @property
    def endpoints(self) -> dict[str, Callable[..., Any]]:
        return {
            "endpoint": self.endpoint,
            "thread": self.thread,
            "background": self.background,
            "thread_background": self.thread_background,
            "stream": self.stream,
            "broken": self.broken,
        }

    async def task(self, where: str) -> None:
        self.seen.append((where, taskctx.get_task_scope()))

    async def submit(self, where: str) -> None:
        await taskctx.add(self._docket, self.task)(where)

    async def endpoint(self) -> None:
        await self.submit("endpoint")

    def thread(self) -> None:
        self.seen.append(("thread", taskctx.get_task_scope()))

    async def background(self, background: BackgroundTasks) -> None:
        background.add_task(self.submit, "background")

    async def thread_background(self, background: BackgroundTasks) -> None:
        background.add_task(lambda: self.seen.append(("thread_background", taskctx.get_task_scope())))

    async def stream(self) -> StreamingResponse:
        async def chunks() -> AsyncGenerator[str]:
            yield "begun"
            await self.submit("stream")
            yield "done"

        return StreamingResponse(chunks())

    async def broken(self) -> None:
        raise BrokenOrder

    async def _broken(self, _request: Request, _error: Exception) -> Response:
        await self.submit("broken")
        return PlainTextResponse("broken")


@pytest.mark.parametrize("dependency", DEPENDENCIES.values(), ids=list(DEPENDENCIES))
async def test_whatever_the_dependency_all_of_the_request_is_its_callers(
    docket: Docket, worker: Worker, dependency: Any
) -> None:
    """Endpoints in the event loop and in threads, background tasks, streamed bodies, exception handlers: all are ada's."""
    orders = Orders(docket, dependency)
    async with serving(orders.app) as address, httpx.AsyncClient(base_url=address) as http:
        for scope in ("request", "function"):
            for path in orders.endpoints:
                answer = await http.post(f"/{scope}/{path}", headers={"X-Client": "ada"})
                assert answer.status_code == 200
    await worker.run_until_finished()
    assert sorted(orders.seen) == sorted([(where, ADA.scope) for where in orders.endpoints] * 2)


async def test_a_handler_of_any_exception_is_inside_of_a_middleware_that_wraps_the_application(
    docket: Docket, worker: Worker
) -> None:
    """Starlette calls a handler for ``Exception`` outside of all middleware that was added to the application."""
    orders = Orders(docket, plain_return)

    async def any_error(_request: Request, _error: Exception) -> Response:
        await orders.submit("any error")
        return PlainTextResponse("broken", 500)

    @orders.app.post("/fails", dependencies=[Depends(plain_return)])
    async def fails() -> None:  # pyright: ignore[reportUnusedFunction]
        raise RuntimeError

    orders.app.add_exception_handler(Exception, any_error)
    async with serving(TaskContextMiddleware(orders.app)) as address, httpx.AsyncClient(base_url=address) as http:
        assert (await http.post("/fails")).status_code == 500
    await worker.run_until_finished()
    assert orders.seen == [("any error", ADA.scope)]


async def test_requests_at_the_same_time_have_callers_of_their_own() -> None:
    """Twenty wait for each other between being identified and being asked."""
    everyone = asyncio.Barrier(20)
    app = FastAPI()
    app.add_middleware(TaskContextMiddleware)

    def authenticated(name: Annotated[str, Depends(APIKeyHeader(name="X-Client"))]) -> None:
        taskctx.identify(access_token=taskctx.AccessToken(token=secret(name), client_id=name))

    @app.get("/", dependencies=[Depends(authenticated)])
    async def look() -> list[str | None]:  # pyright: ignore[reportUnusedFunction]
        before = taskctx.get_task_scope()
        await everyone.wait()
        return [before, taskctx.get_task_scope()]

    names = [f"client-{number}" for number in range(20)]
    async with serving(app) as address, httpx.AsyncClient(base_url=address) as http:
        answers = await asyncio.gather(*(http.get("/", headers={"X-Client": name}) for name in names))
    assert [answer.json() for answer in answers] == [[name, name] for name in names]


# ---- what it says ----


def application(handler: Callable[[], Any], *middleware: Middleware) -> Starlette:
    """Answers with what the handler gives, inside of the middleware."""

    async def endpoint(_request: Request) -> Response:
        return JSONResponse(handler())

    return Starlette(routes=[Route("/", endpoint)], middleware=[OURS, *middleware])


async def ask(handler: Callable[[], Any], *middleware: Middleware) -> Any:
    async with client(application(handler, *middleware)) as http:
        return (await http.get("/", headers={"Authorization": "Bearer starlette", "X-Request-Id": "r"})).json()


async def test_it_counts_before_the_authenticated_user() -> None:
    """The token given to ``identify`` replaces the authenticated user."""
    seen: list[str | None] = []

    def handler() -> str | None:
        seen.append(taskctx.get_task_scope())
        taskctx.identify(access_token=ADA.token)
        return taskctx.get_task_scope()

    assert await ask(handler, Middleware(AuthenticationMiddleware, backend=Backend())) == ADA.scope
    assert seen == ["starlette"]


async def test_what_is_not_given_stays_as_it_is() -> None:
    """A call of ``identify`` changes only the values that it is given."""

    def handler() -> list[object]:
        taskctx.identify(access_token=ADA.token, headers={"X-Tenant": "acme"})
        taskctx.identify(session_id="session", server=handler)
        caller = current_caller.get()
        return [
            taskctx.get_task_scope(),
            taskctx.get_http_headers(),
            taskctx.get_request_id(),
            caller.session_id,
            caller.server is handler,
            caller.session,
        ]

    assert await ask(handler) == [ADA.scope, {"x-tenant": "acme"}, "r", "session", True, None]


async def test_a_request_may_be_named_anonymous() -> None:
    """``identify(access_token=None)`` makes the request anonymous in spite of an authenticated user, until a token is given."""

    def handler() -> list[str | None]:
        taskctx.identify(access_token=None)
        anonymous = taskctx.get_task_scope()
        taskctx.identify(access_token=ADA.token)
        return [anonymous, taskctx.get_task_scope()]

    assert await ask(handler, Middleware(AuthenticationMiddleware, backend=Backend())) == [None, ADA.scope]


async def test_the_same_caller_may_have_a_new_token() -> None:
    """A second call may give another token of the same scope."""

    def handler() -> str:
        taskctx.identify(access_token=ADA.token)
        taskctx.identify(access_token=ADA.token.model_copy(update={"token": secret("newer")}))
        token = taskctx.get_access_token()
        assert token is not None
        return token.token

    assert await ask(handler) == secret("newer")


@pytest.mark.parametrize("other", [BOB.token, None], ids=["bob", "nobody"])
async def test_another_caller_is_refused(other: object) -> None:
    """The first stays, with all that was known; nothing of the second call holds."""

    def handler() -> list[object]:
        taskctx.identify(access_token=ADA.token)
        with pytest.raises(InvalidArgument, match="another caller than before in the same request") as caught:
            taskctx.identify(access_token=other, headers={"x-tenant": secret("tenant")}, request_id="other")
        assert shown(caught.value) == []
        return [taskctx.get_task_scope(), taskctx.get_request_id(), taskctx.get_http_headers().get("x-tenant")]

    assert await ask(handler) == [ADA.scope, "r", None]


async def test_of_many_threads_that_name_different_callers_one_is_heard() -> None:
    """The first thread's caller stays, and the other threads get an error."""
    app = FastAPI()
    app.add_middleware(TaskContextMiddleware)

    @app.get("/")
    async def race() -> list[str | None]:  # pyright: ignore[reportUnusedFunction]
        everyone = asyncio.Barrier(8)

        async def name(number: int) -> str | None:
            await everyone.wait()
            token = taskctx.AccessToken(token=secret("token"), client_id=f"client-{number}")
            with suppress(InvalidArgument):
                await asyncio.to_thread(taskctx.identify, access_token=token)
                return token.client_id
            return None

        heard = [name for name in await asyncio.gather(*map(name, range(8))) if name]
        return [*heard, taskctx.get_task_scope()]

    async with client(app) as http:
        first, now = (await http.get("/")).json()
    assert first == now


async def test_a_block_holds_until_its_end() -> None:
    """Its own token, if it was given one; a block without one has the request's, also where that is named inside."""

    def handler() -> list[str | None]:
        seen: list[str | None] = []
        with taskctx.bind_caller(session=handler):
            taskctx.identify(access_token=ADA.token)
            seen.append(taskctx.get_task_scope())
            with taskctx.bind_caller(access_token=BOB.token):
                seen.append(taskctx.get_task_scope())
        return [*seen, taskctx.get_task_scope()]

    assert await ask(handler) == [ADA.scope, BOB.scope, ADA.scope]


# ---- where there is nothing to say ----


def test_outside_of_a_request() -> None:
    """The error says what is missing, and nothing is bound."""
    with pytest.raises(ConfigurationError, match=r"Add taskctx\.asgi\.TaskContext") as caught:
        taskctx.identify(access_token=ADA.token)
    assert shown(caught.value) == []
    assert current_caller.get() is ANONYMOUS


async def test_in_a_task() -> None:
    """A task has its caller from its submission."""
    with pytest.raises(ConfigurationError, match="there is no request here"):
        taskctx.identify(access_token=ADA.token)


async def test_in_a_lifespan() -> None:
    """``identify`` raises in a server's lifespan, which is no request."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        with pytest.raises(ConfigurationError, match="there is no request here"):
            taskctx.identify(access_token=ADA.token)
        yield

    async with serving(Starlette(lifespan=lifespan, middleware=[OURS])):
        pass


async def test_in_a_thread_that_does_not_know_the_request() -> None:
    """``run_in_executor`` takes no context along; ``asyncio.to_thread`` does."""

    async def endpoint(_request: Request) -> Response:
        with ThreadPoolExecutor(1) as pool, pytest.raises(ConfigurationError, match="there is no request here"):
            await asyncio.get_running_loop().run_in_executor(pool, plain_return)
        await asyncio.to_thread(plain_return)
        return PlainTextResponse(taskctx.get_task_scope() or "")

    async with client(Starlette(routes=[Route("/", endpoint)], middleware=[OURS])) as http:
        assert (await http.get("/")).text == ADA.scope


async def test_after_the_request() -> None:
    """What was started in a request and goes on after it keeps the request's caller, and cannot name another."""
    is_over = asyncio.Event()
    late: list[asyncio.Task[str | None]] = []

    async def afterwards() -> str | None:
        await is_over.wait()
        with pytest.raises(ConfigurationError, match="the request in which this code was started is over"):
            taskctx.identify(access_token=ADA.token)
        return taskctx.get_task_scope()

    def handler() -> None:
        taskctx.identify(access_token=ADA.token)
        late.append(asyncio.create_task(afterwards()))

    await ask(handler)
    is_over.set()
    assert await late[0] == ADA.scope


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"access_token": "text"}, "str is at fault in"),
        ({"access_token": {"token": secret("token"), "client_id": 7}}, "dict is at fault in: client_id"),
        ({"headers": [("authorization", secret("token"))]}, "headers must be a mapping"),
        ({"request_id": 7}, "request_id must be a string"),
        ({"session_id": 7}, "session_id must be a string"),
    ],
)
async def test_what_is_none_is_refused(wrong: dict[str, Any], message: str) -> None:
    """A wrong argument changes nothing, and the error shows none of the arguments."""
    given: dict[str, Any] = {"access_token": ADA.token} | wrong

    def handler() -> str | None:
        with pytest.raises(InvalidType, match=message) as caught:
            taskctx.identify(**given)
        assert MARKER not in str(caught.value)
        assert shown(caught.value) == []
        return taskctx.get_task_scope()

    assert await ask(handler) is None
