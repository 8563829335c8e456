"""What is no access token is one clear error where tasks are submitted, whichever way it came, and no task is scheduled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from docket import Docket
from prometheus_client import CollectorRegistry

import taskctx
from taskctx.asgi import TaskContextMiddleware
from tests.conftest import our_keys
from tests.frames import shown
from tests.secrets import MARKER, secret

Submit = Callable[[], Awaitable[object]]
Way = Callable[[Submit], Awaitable[None]]

WRONG = SimpleNamespace(token=secret("token"), client_id=7)


async def bind_caller(submit: Submit) -> None:
    with taskctx.bind_caller(access_token=WRONG):
        await submit()


async def identify(submit: Submit) -> None:
    async def identified() -> None:
        taskctx.identify(access_token=WRONG)
        await submit()

    await _request(identified)


async def a_user_that_holds_it(submit: Submit) -> None:
    await _request(submit, user=SimpleNamespace(access_token=WRONG))


async def a_user_with_wrong_scopes(submit: Submit) -> None:
    user = SimpleNamespace(is_authenticated=True, identity="ada")
    await _request(submit, user=user, auth=SimpleNamespace(scopes=secret("scopes")))


async def a_user_without_a_name(submit: Submit) -> None:
    await _request(submit, user=SimpleNamespace(is_authenticated=True))


async def _request(handle: Submit, **scope: object) -> None:
    async def application(*_: object) -> None:
        await handle()

    async def unused(*_: object) -> Any:
        """The server's end of a connection that is not read and not written to."""

    await TaskContextMiddleware(application)({"type": "http", "headers": [], **scope}, unused, unused)


WAYS: dict[Way, str] = {
    bind_caller: "SimpleNamespace is at fault in: client_id",
    identify: "SimpleNamespace is at fault in: client_id",
    a_user_that_holds_it: "SimpleNamespace is at fault in: client_id",
    a_user_with_wrong_scopes: "is at fault in: scopes",
    a_user_without_a_name: r"Call taskctx\.identify",
}


@pytest.mark.parametrize("on_save_failure", ["raise", "continue"])
@pytest.mark.parametrize("ways", WAYS.items(), ids=[way.__name__ for way in WAYS])
async def test_nothing_is_scheduled(
    docket: Docket, registry: CollectorRegistry, ways: tuple[Way, str], on_save_failure: Any
) -> None:
    """Nothing is stored either, whatever ``on_save_failure`` says: a wrong token never makes an anonymous task."""
    taskctx.configure(registry=registry, on_save_failure=on_save_failure)
    way, message = ways

    async def task() -> None:
        """Never runs."""

    submissions: list[Submit] = [
        taskctx.add(docket, task),
        taskctx.add(docket, task, key="1"),
        lambda: taskctx.add_many(docket, [docket.call(task)() for _ in range(3)]),
    ]
    for submit in submissions:
        with pytest.raises(taskctx.InvalidType, match=message) as caught:
            await way(submit)
        assert MARKER not in str(caught.value)
        assert shown(caught.value) == []

    assert await our_keys(docket) == []
    assert (await docket.snapshot()).total_tasks == 0


async def test_a_token_that_does_not_say_whose_it_is(docket: Docket, registry: CollectorRegistry) -> None:
    """The error names the parts of the token that are empty, not only the key that cannot be made of them."""

    async def task() -> None:
        pytest.fail("it was scheduled")

    with taskctx.bind_caller(access_token=SimpleNamespace(token=secret("token"), client_id="", claims={"sub": ""})):
        for submit in (taskctx.add(docket, task), taskctx.replace(docket, task, datetime.now(UTC), "key")):
            with pytest.raises(taskctx.InvalidArgument, match=r"client_id is empty.*sub") as caught:
                await submit()
            assert MARKER not in str(caught.value)
            assert shown(caught.value) == []
    assert await our_keys(docket) == []
