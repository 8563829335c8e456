"""Operations of one kind are one command, and each has its own answer or error."""

from __future__ import annotations

import asyncio

import pytest
from docket import Docket

from taskctx._transport import commands
from taskctx._transport.bulk import Batch, Bulk, Command, error_in
from taskctx._transport.deadline import BackendError
from taskctx.errors import Reason
from tests.conftest import BACKEND

SCRIPT, OTHER = "do it to each", "do something else to each"


class Written:
    """A pipeline that keeps what is put into it."""

    def __init__(self) -> None:
        self.commands: list[tuple[object, ...]] = []

    def get(self, name: str) -> None:
        self.commands.append(("get", name))

    def ttl(self, name: str) -> None:
        self.commands.append(("ttl", name))

    def eval(self, script: str, numkeys: int, *keys_and_args: str | bytes) -> None:
        self.commands.append((script, numkeys, *keys_and_args))


def get(key: str) -> Command:
    return lambda pipeline: pipeline.get(key)


def ttl(key: str) -> Command:
    return lambda pipeline: pipeline.ttl(key)


def both(key: str, *, script: str = SCRIPT, apart: bool = False) -> Bulk:
    return Bulk(script, (key,), (f"of {key}",), (get(key), ttl(key)), apart=apart)


def written(batch: Batch) -> list[tuple[object, ...]]:
    pipeline = Written()
    for command in batch.commands:
        command(pipeline)  # pyright: ignore[reportArgumentType]
    return pipeline.commands


def test_each_kind_is_one_command() -> None:
    """Between them, and whatever else travels along, answers find their way back."""
    batch = Batch([both("a"), get("x"), both("b", script=OTHER), both("c")], scripts=True)
    assert written(batch) == [("get", "x"), (SCRIPT, 2, "a", "c", "of a", "of c"), (OTHER, 1, "b", "of b")]
    assert batch.answers(["X", [["A", 1], ["C", 3]], [["B", 2]]]) == [["A", 1], "X", ["B", 2], ["C", 3]]


def test_apart_they_are_their_own_commands() -> None:
    """On a server whose scripts cannot, and at the second try."""
    for batch in (
        Batch([both("a"), both("b")], scripts=False),
        Batch([both("a", apart=True), both("b", apart=True)], scripts=True),
    ):
        assert written(batch) == [("get", "a"), ("ttl", "a"), ("get", "b"), ("ttl", "b")]
        assert batch.answers(["A", 1, "B", 2]) == [["A", 1], ["B", 2]]


def test_each_command_has_its_reply() -> None:
    """A server that answers more or less than it was asked is not to be believed."""
    for replies in ([[["A", 1]]], [[["A", 1], ["B", 2], ["C", 3]]], [[["A", 1], ["B", 2]], "more"]):
        with pytest.raises(ValueError, match="zip"):
            Batch([both("a"), both("b")], scripts=True).answers(replies)


def test_together_unless_said_otherwise() -> None:
    """Apart is for the second try."""
    assert not Bulk(SCRIPT, ("a",), (), (get("a"),)).apart


def test_one_command_needs_no_script() -> None:
    """It would only be longer."""
    batch = Batch([Bulk(SCRIPT, ("a",), (), (get("a"),))], scripts=True)
    assert written(batch) == [("get", "a")]
    assert batch.answers(["A"]) == [["A"]]


def test_a_script_that_fails_fails_all() -> None:
    """What it does for one and cannot do is that one's alone."""
    refused = ValueError("refused")
    batch = Batch([both("a"), both("b")], scripts=True)
    assert batch.answers([refused]) == [refused, refused]
    first, second = batch.answers([[[refused, 1], ["B", 2]]])
    assert error_in(first) is error_in(refused) is refused
    assert error_in(second) is error_in(b"B") is None


async def test_an_error_is_its_callers_alone(docket: Docket) -> None:
    """A key that holds something else, among others that are restored and shortened at the same time."""
    names = [f"key-{number}" for number in range(20)]
    keys = {name: docket.key(f"taskctx:test:{name}") for name in names}
    await asyncio.gather(*(commands.put(docket, key, name.encode(), 60) for name, key in keys.items()))
    async with docket.redis() as redis:
        await redis.delete(keys["key-7"])
        await redis.rpush(keys["key-7"], "not ours")
        await redis.expire(keys["key-7"], 60)

    found = await asyncio.gather(*(commands.fetch(docket, key) for key in keys.values()), return_exceptions=True)

    for name, answer in zip(names, found, strict=True):
        if name == "key-7":
            assert isinstance(answer, BackendError)
            assert answer.reason is Reason.MALFORMED
        else:
            assert isinstance(answer, commands.Stored)
            assert (answer.value, 0 < answer.ttl <= 60) == (name.encode(), True)


async def test_values_are_bytes_and_come_back_as_they_are(docket: Docket) -> None:
    """Sealed ones are any bytes at all; one that is not there is None."""
    values = [bytes(range(256)), b"", b"{}", b"\r\n$-1\r\n", b"\x00" * 5000]
    keys = [docket.key(f"taskctx:test:{number}") for number in range(len(values))]
    await asyncio.gather(*(commands.put(docket, key, value, 60) for key, value in zip(keys, values, strict=True)))
    missing = docket.key("taskctx:test:missing")
    *found, nothing = await asyncio.gather(*(commands.fetch(docket, key) for key in (*keys, missing)))
    assert [stored and stored.value for stored in found] == values
    assert nothing is None


async def test_shortening_together_heeds_each_ones_generation(docket: Docket) -> None:
    """A snapshot whose task was submitted again keeps its life; a record that is no record is its own task's trouble."""
    generations = {"older": 1, "same": 2, "newer": 3}
    for name, generation in generations.items():
        await commands.put(docket, docket.key(f"taskctx:test:{name}"), b"{}", 60)
        async with docket.redis() as redis:
            await redis.hset(docket.runs_key(name), mapping={"generation": str(generation)})
    await commands.put(docket, docket.key("taskctx:test:odd"), b"{}", 60)
    async with docket.redis() as redis:
        await redis.rpush(docket.runs_key("odd"), "a list")

    done = await asyncio.gather(
        *(
            commands.expire_unless_superseded(docket, docket.key(f"taskctx:test:{name}"), 5, name, 2)
            for name in (*generations, "odd")
        ),
        return_exceptions=True,
    )

    async with docket.redis() as redis:
        left = {name: await redis.ttl(docket.key(f"taskctx:test:{name}")) for name in (*generations, "odd")}
    assert {name for name, seconds in left.items() if seconds <= 5} == {"older", "same"}
    assert [type(each) for each in done] == [type(None)] * 3 + [BackendError]


async def test_operations_of_all_kinds_travel_together(docket: Docket) -> None:
    """In any order: each takes its own keys and arguments, and gets its own answer."""
    stored = {number: docket.key(f"taskctx:test:stored-{number}") for number in range(10)}
    new = {number: docket.key(f"taskctx:test:new-{number}") for number in range(10)}
    await asyncio.gather(*(commands.put(docket, key, f"{number}".encode(), 60) for number, key in stored.items()))

    operations = [
        operation
        for number in range(10)
        for operation in (
            commands.put(docket, new[number], f"new {number}".encode(), 100 + number),
            commands.fetch(docket, stored[number]),
            commands.expire_unless_superseded(docket, stored[number], 20 + number, f"task-{number}", 1),
        )
    ]
    answers = await asyncio.gather(*operations)

    found = [answer for answer in answers if answer is not None]
    assert [each.value for each in found] == [f"{number}".encode() for number in range(10)]
    assert all(58 < each.ttl <= 60 for each in found)
    async with docket.redis() as redis:
        for number in range(10):
            assert await redis.get(new[number]) == f"new {number}".encode()
            assert 98 + number < await redis.ttl(new[number]) <= 100 + number
            assert 18 + number < await redis.ttl(stored[number]) <= 20 + number


@pytest.mark.skipif(BACKEND != "valkey", reason="memory:// has no such figures")
async def test_the_server_sees_few_commands(docket: Docket) -> None:
    """For 200 tasks' snapshots at a time, as it counts them itself."""
    keys = [docket.key(f"taskctx:test:{number}") for number in range(200)]
    before = await _calls(docket)
    await asyncio.gather(*(commands.put(docket, key, b"{}", 60) for key in keys))
    await asyncio.gather(*(commands.fetch(docket, key) for key in keys))
    after = await _calls(docket)
    # the first of each goes straight out, the others follow together
    assert after["eval"] - before["eval"] <= 4
    assert after["set"] - before["set"] == after["get"] - before["get"] == len(keys)


async def _calls(docket: Docket) -> dict[str, int]:
    async with docket.redis() as redis:
        stats = await redis.info("commandstats")
    counted = {name.removeprefix("cmdstat_"): figures["calls"] for name, figures in stats.items()}
    return {name: counted.get(name, 0) for name in ("eval", "set", "get")}
