"""Blocks that bind something, as decorators: what is bound is there while the function's body runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator
from typing import Any

import pytest

import taskctx
from taskctx._caller.block import Block
from taskctx._runtime import current_settings
from taskctx.testing import configured, fake_caller
from tests.frames import shown
from tests.secrets import secret, token

ADA = fake_caller("ada")


def ttl() -> int:
    return current_settings().pending_ttl


BLOCKS: list[tuple[Callable[[], Block[Any]], Callable[[], object], object]] = [
    (taskctx.anonymous, taskctx.get_task_scope, None),
    (lambda: taskctx.bind_caller(access_token=token()), taskctx.get_task_scope, "reports-app|ada"),
    (ADA.bound, taskctx.get_task_scope, ADA.scope),
    (lambda: configured(pending_ttl=7), ttl, 7),
]
each_block = pytest.mark.parametrize(
    ("make", "look", "inside"), BLOCKS, ids=["anonymous", "bind", "fake", "configured"]
)


@each_block
async def test_an_async_function(make: Any, look: Callable[[], object], inside: object) -> None:
    """It runs inside of the block as often as it is called, and to its end."""

    @make()
    async def decorated(argument: int, *, named: str) -> tuple[object, object, int, str]:
        before = look()
        await asyncio.sleep(0)
        return before, look(), argument, named

    with fake_caller("eve").bound():
        outside = look()
        calls = [decorated(number, named="n") for number in range(3)]
        assert [await call for call in calls] == [(inside, inside, number, "n") for number in range(3)]
        assert look() == outside
    assert decorated.__name__ == "decorated"


@each_block
def test_a_function(make: Any, look: Callable[[], object], inside: object) -> None:
    """As a decorator, ``bind_caller`` binds the caller for each call of the function."""
    decorated = make()(look)
    with fake_caller("eve").bound():
        outside = look()
        assert [decorated(), decorated()] == [inside, inside]
        assert look() == outside


def test_a_generator_is_refused() -> None:
    """Its body runs after the call, and so outside of the block: a dependency of FastAPI's, or a fixture."""

    def some() -> Generator[int]:
        yield 1

    async def others() -> AsyncGenerator[int]:
        yield 1

    for generator in (some, others):
        with pytest.raises(taskctx.InvalidType, match="write the with block into its body"):
            taskctx.anonymous()(generator)


def test_it_is_entered_once() -> None:
    """A second time could end the first one too early."""
    block = taskctx.bind_caller(request_id="r-1")
    with block, pytest.raises(taskctx.TaskContextError, match="only once"), block:
        pytest.fail("it was entered")
    assert taskctx.get_request_id() is None


def test_what_was_given_is_in_no_frame() -> None:
    """Where the arguments are not those of the block, and where they have the wrong type."""
    for wrong in ({"acess_token": secret("token")}, {"request_id": 7, "access_token": token()}):
        with pytest.raises(TypeError) as caught, taskctx.bind_caller(**wrong):  # pyright: ignore[reportArgumentType]
            pytest.fail("it was bound")
        assert shown(caught.value) == []
