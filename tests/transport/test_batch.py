"""Operations of one kind are one command, and each has its own replies or error."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any
from uuid import uuid4

import pytest
from docket import Docket

from taskctx._transport.batch import Batch, Kind, OneByOne, Operation, Pipeline, Script

SCRIPT, OTHER = Script("do it to each"), Script("do something else to each")


class Written:
    """A pipeline that keeps what is put into it."""

    def __init__(self) -> None:
        self.commands: list[tuple[object, ...]] = []

    def get(self, name: str) -> str:
        self.commands.append(("get", name))
        return f"the answer to get {name}"

    def ttl(self, name: str) -> str:
        self.commands.append(("ttl", name))
        return f"the answer to ttl {name}"

    def execute_command(self, *command: str | bytes | int) -> str:
        texts = [each.decode() if isinstance(each, bytes) else each for each in command]
        self.commands.append(tuple(texts))
        return f"the answer to {texts[0]} {texts[1]}"


def _get(pipeline: Pipeline, operation: Operation) -> Any:
    return pipeline.get(operation.keys[0])


def _get_and_ttl(pipeline: Pipeline, operation: Operation) -> Any:
    pipeline.get(operation.keys[0])
    return pipeline.ttl(operation.keys[0])


def get(key: str) -> Operation:
    """One command, and no script."""
    return Operation(Kind(_get), (key,))


def both(key: str, *, script: Script = SCRIPT, apart: bool = False) -> Operation:
    """Two commands, and a script that does them for many."""
    return Operation(Kind(_get_and_ttl, replies=2, script=script), (key,), (f"of {key}",), apart=apart)


def written(batch: Batch) -> list[tuple[object, ...]]:
    pipeline = Written()
    batch.queue(pipeline)  # pyright: ignore[reportArgumentType]
    return pipeline.commands


def last_answer(batch: Batch) -> object:
    return batch.queue(Written())  # pyright: ignore[reportArgumentType]


def test_each_kind_is_one_command() -> None:
    """Among them, and whatever else travels along, replies find their way back."""
    batch = Batch([both("a"), get("x"), both("b", script=OTHER), both("c")], scripts=True)
    assert written(batch) == [
        ("EVALSHA", SCRIPT.sha, 2, "a", "c", "of a", "of c"),
        ("EVALSHA", OTHER.sha, 1, "b", "of b"),
        ("get", "x"),
    ]
    assert batch.sorted([[["A", 1], ["C", 3]], [["B", 2]], "X"]) == [["A", 1], ["X"], ["B", 2], ["C", 3]]


def test_apart_they_are_their_own_commands() -> None:
    """Without scripts on the server, and at the second try, each operation is sent as its own commands."""
    for batch in (
        Batch([both("a"), both("b")], scripts=False),
        Batch([both("a", apart=True), both("b", apart=True)], scripts=True),
    ):
        assert written(batch) == [("get", "a"), ("ttl", "a"), ("get", "b"), ("ttl", "b")]
        assert batch.sorted(["A", 1, "B", 2]) == [["A", 1], ["B", 2]]


@pytest.mark.parametrize(
    "replies",
    [
        pytest.param([[["A", 1]]], id="too few of a script"),
        pytest.param([[["A", 1], ["B", 2], ["C", 3]]], id="too many of a script"),
        pytest.param([[["A", 1], ["B", 2]], "more"], id="more than was asked"),
        pytest.param([], id="nothing"),
    ],
)
def test_each_command_has_its_reply(replies: list[Any]) -> None:
    """A server that answers more or less than it was asked is not to be believed."""
    with pytest.raises(ValueError, match=r"zip|did not answer"):
        Batch([both("a"), both("b")], scripts=True).sorted(replies)


@pytest.mark.parametrize("replies", [["A", 1, "B"], ["A", 1, "B", 2, "more"], ["A"], []])
def test_each_command_of_those_apart_has_its_reply(replies: list[Any]) -> None:
    """Too few or too many replies raise an error."""
    with pytest.raises(ValueError, match="did not answer"):
        Batch([both("a"), both("b")], scripts=False).sorted(replies)


def test_together_unless_said_otherwise() -> None:
    """Apart is for the second try."""
    assert not Operation(Kind(_get), ("a",)).apart


@pytest.mark.parametrize(
    ("operations", "scripts", "is_one"),
    [
        ([both("a")], True, True),
        ([both("a"), both("b")], True, True),
        ([both("a"), both("b", script=OTHER)], True, False),
        ([both("a"), get("x")], True, False),
        ([both("a")], False, False),
        ([both("a", apart=True)], True, False),
        ([get("x")], True, True),
        ([get("x"), get("y")], True, False),
    ],
)
def test_one_command_needs_no_pipeline(operations: list[Operation], scripts: bool, is_one: bool) -> None:
    """A script is one, whatever it does it to; its answer is what there is to wait for."""
    batch = Batch(operations, scripts=scripts)
    assert batch.is_one_command is is_one
    assert (len(written(batch)) == 1) is is_one


def test_the_last_commands_answer_is_there_to_await() -> None:
    """Where there is a client in place of a pipeline."""
    assert last_answer(Batch([both("a"), both("b")], scripts=True)) == f"the answer to EVALSHA {SCRIPT.sha}"
    assert last_answer(Batch([both("a")], scripts=False)) == "the answer to ttl a"
    assert last_answer(Batch([get("x")], scripts=True)) == "the answer to get x"


def test_a_script_that_fails_fails_all() -> None:
    """What it does for one and cannot do is that one's alone."""
    refused = ValueError("refused")
    batch = Batch([both("a"), both("b")], scripts=True)
    assert batch.sorted([refused]) == [[refused], [refused]]
    assert batch.sorted([[[refused, 1], ["B", 2]]]) == [[refused, 1], ["B", 2]]


@pytest.fixture
async def in_process() -> AsyncGenerator[Any]:
    """The client of a server in this process."""
    async with Docket(name="one-by-one", url=f"memory://{uuid4()}") as docket, docket.redis() as client:
        yield client


async def test_one_by_one_commands_are_done_in_their_order(in_process: Any) -> None:
    """Each with its arguments, none before it is this pipeline's turn, and each once."""
    pipeline: Any = OneByOne(in_process)
    pipeline.get("a")
    pipeline.set("a", b"first", ex=60, nx=True)
    pipeline.get("a")
    pipeline.set("a", b"second", ex=60, nx=True)
    pipeline.get("a")
    assert await in_process.get("a") is None
    first, _, stored, _, still = await pipeline.execute()
    assert (first, stored, still) == (None, b"first", b"first")
    assert 58 < await in_process.ttl("a") <= 60


async def test_one_by_one_a_refused_command_is_a_reply(in_process: Any) -> None:
    """The others are done all the same, unless it is to be raised."""

    def queued() -> Any:
        pipeline: Any = OneByOne(in_process)
        pipeline.get("a list")
        pipeline.get("a")
        return pipeline

    await in_process.rpush("a list", "member")
    await in_process.set("a", b"there")
    refused, found = await queued().execute(raise_on_error=False)
    assert isinstance(refused, Exception)
    assert found == b"there"
    with pytest.raises(type(refused)):
        await queued().execute()
