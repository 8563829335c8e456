"""What is given wrongly to the functions that submit is refused by an error of ours, before anything is stored."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from docket import Docket

import taskctx
from taskctx import InvalidArgument, InvalidType, TaskContextSnapshot
from tests.conftest import our_keys
from tests.secrets import MARKER

ADD: Any = taskctx.add
REPLACE: Any = taskctx.replace
ADD_MANY: Any = taskctx.add_many
SAVE: Any = TaskContextSnapshot().save

NAIVE = datetime(2100, 1, 1)  # noqa: DTZ001 - the point of it
SOON = datetime.now(UTC) + timedelta(hours=1)


async def look() -> None: ...


class Callee:
    """Can be called and awaited, but has no name to be registered by."""

    async def __call__(self) -> None: ...


class OurDocket(Docket):
    """A user's own subclass of Docket."""


NO_DOCKET: dict[str, Callable[[], object]] = {
    "add": lambda: ADD(MARKER, look),
    "replace": lambda: REPLACE(MARKER, look, SOON, "1"),
    "add_many": lambda: ADD_MANY(MARKER, []),
    "save": lambda: SAVE(MARKER, None, "1", 60),
}

WRONG: dict[str, tuple[Callable[[Docket], object], type[Exception], str]] = {
    "when": (lambda docket: ADD(docket, look, when=MARKER), InvalidType, "when must be a datetime, not str"),
    "replace's when": (lambda docket: REPLACE(docket, look, 5, "1"), InvalidType, "when must be a datetime, not int"),
    "no when": (lambda docket: REPLACE(docket, look, None, "1"), InvalidType, "when must be a datetime, not NoneType"),
    "a naive when": (lambda docket: ADD(docket, look, when=NAIVE), InvalidType, "when must be .* with a time zone"),
    "no function": (lambda docket: ADD(docket, 5), InvalidType, "function must be an async function, .* not int"),
    "no name": (lambda docket: ADD(docket, Callee()), InvalidType, "function must be .* not Callee"),
    "a partial": (lambda docket: ADD(docket, functools.partial(look)), InvalidType, "function must be .* not partial"),
    "a module": (lambda docket: ADD(docket, functools), InvalidType, "function must be .* not module"),
    "key": (lambda docket: ADD(docket, look, key=5), InvalidType, "the task id must be a string, not int"),
    "an empty key": (lambda docket: ADD(docket, look, key=""), InvalidArgument, "the task id must not be empty"),
    "ttl": (lambda docket: ADD(docket, look, ttl=MARKER), InvalidType, "a TTL must be seconds or a timedelta, not str"),
    "a call's when": (
        lambda docket: ADD_MANY(docket, [docket.call(look, when=NAIVE)()]),
        InvalidType,
        "when must be .* with a time zone",
    ),
    "no chunk": (
        lambda docket: ADD_MANY(docket, [docket.call(look)()], chunk_size=0),
        InvalidArgument,
        "chunk_size must be at least 1",
    ),
}


async def given(made: object) -> None:
    """Submit, if the arguments let it come to that."""
    if callable(made):
        made = made()
    assert isinstance(made, Awaitable)
    await made


@pytest.mark.parametrize("call", NO_DOCKET.values(), ids=NO_DOCKET)
async def test_what_is_no_docket_is_refused(call: Callable[[], object]) -> None:
    """The commonest slip: its name in place of it."""
    with pytest.raises(InvalidType, match=r"^docket must be an open docket\.Docket, not str$"):
        await given(call())


@pytest.mark.parametrize(("call", "error", "message"), WRONG.values(), ids=WRONG)
async def test_a_wrong_argument_is_named_and_not_quoted(
    docket: Docket, call: Callable[[Docket], object], error: type[Exception], message: str
) -> None:
    """The error names the argument without its value, and no key is stored."""
    with pytest.raises(error, match=f"^{message}") as refused:
        await given(call(docket))
    assert MARKER not in str(refused.value)
    assert await our_keys(docket) == []


async def test_a_docket_that_is_not_open_is_refused(backend_url: str) -> None:
    """Before it was opened, and after it was closed; the server is not blamed."""
    docket = Docket(name="shut", url=backend_url)
    for _ in range(2):
        for submission in (
            taskctx.add(docket, look),
            taskctx.replace(docket, look, SOON, "1"),
            lambda: taskctx.add_many(docket, [docket.call(look)()]),
            lambda: SAVE(docket, None, "1", 60),
        ):
            with pytest.raises(InvalidArgument, match=r"^docket is not open"):
                await submission()
        async with docket:
            """Opened, and closed again."""


async def test_arguments_are_refused_before_the_second_step(docket: Docket) -> None:
    """Where they were given."""
    with pytest.raises(InvalidType):
        ADD(docket, look, when=NAIVE)


async def test_docket_refuses_a_naive_datetime_too(docket: Docket) -> None:
    """Docket raises a TypeError, and so InvalidType is a TypeError."""
    with pytest.raises(TypeError, match="offset-naive"):
        await docket.add(look, when=NAIVE)()


async def test_a_docket_of_a_class_of_ones_own_is_one(backend_url: str) -> None:
    """``add`` accepts a subclass of Docket, and a datetime in any time zone."""
    async with OurDocket(name="ours", url=backend_url) as docket:
        execution = await taskctx.add(docket, look, when=SOON.astimezone(), key="1")()
        assert execution.key == "anon:1:task:look"
        await docket.clear()
