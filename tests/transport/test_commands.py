"""What is asked of the server at the same time travels together, and each caller has its own answer or error."""

from __future__ import annotations

import asyncio

import pytest
from docket import Docket

from taskctx._transport import commands
from taskctx._transport.connection import Connection, connection_of
from taskctx._transport.deadline import BackendError
from taskctx.errors import Reason
from tests.conftest import BACKEND


@pytest.fixture
async def connection(docket: Docket) -> Connection:
    return connection_of(docket)


async def test_an_error_is_its_callers_alone(docket: Docket, connection: Connection) -> None:
    """A key that holds something else, among others that are restored and shortened at the same time."""
    names = [f"key-{number}" for number in range(20)]
    keys = {name: docket.key(f"taskctx:test:{name}") for name in names}
    await asyncio.gather(*(commands.put(connection, key, name.encode(), 60) for name, key in keys.items()))
    async with docket.redis() as redis:
        await redis.delete(keys["key-7"])
        await redis.rpush(keys["key-7"], "not ours")
        await redis.expire(keys["key-7"], 60)

    found = await asyncio.gather(*(commands.fetch(connection, key) for key in keys.values()), return_exceptions=True)

    for name, answer in zip(names, found, strict=True):
        if name == "key-7":
            assert isinstance(answer, BackendError)
            assert answer.reason is Reason.MALFORMED
        else:
            assert isinstance(answer, commands.Stored)
            assert (answer.value, 0 < (answer.ttl or 0) <= 60) == (name.encode(), True)


async def test_values_are_bytes_and_come_back_as_they_are(docket: Docket, connection: Connection) -> None:
    """Sealed ones are any bytes at all; one that is not there is None."""
    values = [bytes(range(256)), b"", b"{}", b"\r\n$-1\r\n", b"\x00" * 5000]
    keys = [docket.key(f"taskctx:test:{number}") for number in range(len(values))]
    await asyncio.gather(*(commands.put(connection, key, value, 60) for key, value in zip(keys, values, strict=True)))
    missing = docket.key("taskctx:test:missing")
    *found, nothing = await asyncio.gather(*(commands.fetch(connection, key) for key in (*keys, missing)))
    assert [stored and stored.value for stored in found] == values
    assert nothing is None


async def test_shortening_together_heeds_each_ones_generation(docket: Docket, connection: Connection) -> None:
    """The snapshot of a task that was submitted again keeps its TTL; a record of another type fails only its own operation."""
    generations = {"older": 1, "same": 2, "newer": 3}
    for name, generation in generations.items():
        await commands.put(connection, docket.key(f"taskctx:test:{name}"), b"{}", 60)
        async with docket.redis() as redis:
            await redis.hset(docket.runs_key(name), mapping={"generation": str(generation)})
    await commands.put(connection, docket.key("taskctx:test:odd"), b"{}", 60)
    async with docket.redis() as redis:
        await redis.rpush(docket.runs_key("odd"), "a list")

    done = await asyncio.gather(
        *(
            commands.expire_unless_superseded(
                connection, docket.key(f"taskctx:test:{name}"), 5, docket.runs_key(name), 2
            )
            for name in (*generations, "odd")
        ),
        return_exceptions=True,
    )

    async with docket.redis() as redis:
        left = {name: await redis.ttl(docket.key(f"taskctx:test:{name}")) for name in (*generations, "odd")}
    assert {name for name, seconds in left.items() if seconds <= 5} == {"older", "same"}
    assert [type(each) for each in done] == [type(None)] * 3 + [BackendError]


async def test_operations_of_all_kinds_travel_together(docket: Docket, connection: Connection) -> None:
    """In any order: each takes its own keys and arguments, and gets its own answer."""
    new, stored, shortened = (
        {number: docket.key(f"taskctx:test:{name}-{number}") for number in range(10)}
        for name in ("new", "stored", "shortened")
    )
    there = [*stored.items(), *shortened.items()]
    await asyncio.gather(*(commands.put(connection, key, f"{number}".encode(), 60) for number, key in there))

    operations = [
        operation
        for number in range(10)
        for operation in (
            commands.put(connection, new[number], f"new {number}".encode(), 100 + number),
            commands.fetch(connection, stored[number]),
            commands.expire_unless_superseded(
                connection, shortened[number], 20 + number, docket.runs_key(f"task-{number}"), 1
            ),
        )
    ]
    answers = await asyncio.gather(*operations)

    found = [answer for answer in answers if answer is not None]
    assert [each.value for each in found] == [f"{number}".encode() for number in range(10)]
    assert all(58 < (each.ttl or 0) <= 60 for each in found)
    async with docket.redis() as redis:
        for number in range(10):
            assert await redis.get(new[number]) == f"new {number}".encode()
            assert 98 + number < await redis.ttl(new[number]) <= 100 + number
            assert 18 + number < await redis.ttl(shortened[number]) <= 20 + number


@pytest.mark.skipif(BACKEND != "valkey", reason="memory:// has no such figures")
async def test_the_server_sees_few_commands(docket: Docket, connection: Connection) -> None:
    """By the server's own count, 200 snapshots at a time need a few commands."""
    keys = [docket.key(f"taskctx:test:{number}") for number in range(200)]
    before = await _calls(docket)
    await asyncio.gather(*(commands.put(connection, key, b"{}", 60) for key in keys))
    await asyncio.gather(*(commands.fetch(connection, key) for key in keys))
    after = await _calls(docket)
    # the first of each goes straight out, the others follow together
    assert after["eval"] - before["eval"] <= 4
    assert after["set"] - before["set"] == after["get"] - before["get"] == len(keys)


async def _calls(docket: Docket) -> dict[str, int]:
    async with docket.redis() as redis:
        stats = await redis.info("commandstats")
    counted = {name.removeprefix("cmdstat_"): figures["calls"] for name, figures in stats.items()}
    return {name: counted.get(name, 0) for name in ("eval", "set", "get")}
