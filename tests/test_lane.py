"""Commands of concurrent tasks travel together, and nobody notices but the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field

import pytest

from taskctx._transport.lane import MAX_BYTES, MAX_COMMANDS, Lane, Replies
from tests.helpers import wait_until


@dataclass
class Road:
    """Answers each command with itself in capitals, one journey at a time, when the test lets it go."""

    journeys: list[list[str]] = field(default_factory=list[list[str]])
    open: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    breaks: Exception | None = None

    async def send(self, commands: Sequence[str]) -> Replies:
        self.journeys.append(list(commands))
        await self.open.acquire()
        if self.breaks:
            raise self.breaks
        return [command.upper() for command in commands]


@pytest.fixture
def road() -> Road:
    return Road()


@pytest.fixture
async def lane() -> Lane[str]:
    return Lane(nullcontext)


def set_out(lane: Lane[str], road: Road, *commands: str, size: int = 0) -> asyncio.Task[Replies]:
    return asyncio.create_task(lane.run(commands, road.send, size))


async def first_and(lane: Lane[str], road: Road, *others: Sequence[str]) -> list[asyncio.Task[Replies]]:
    """One request under way, and others that came after it."""
    tasks = [set_out(lane, road, "first"), *(set_out(lane, road, *commands) for commands in others)]
    await wait_until(lambda: road.journeys)
    return tasks


async def test_the_first_goes_straight_out(lane: Lane[str], road: Road) -> None:
    """Who comes alone waits for nobody."""
    road.open.release()
    assert await lane.run(["a", "b"], road.send) == ["A", "B"]
    assert road.journeys == [["a", "b"]]


async def test_those_that_come_meanwhile_leave_together(lane: Lane[str], road: Road) -> None:
    """In the order in which they came, each with its own answers."""
    tasks = await first_and(lane, road, ["a"], ["b", "c"], ["d"])
    road.open.release()
    road.open.release()
    assert await asyncio.gather(*tasks) == [["FIRST"], ["A"], ["B", "C"], ["D"]]
    assert road.journeys == [["first"], ["a", "b", "c", "d"]]


async def test_only_those_who_waited_need_a_bound(road: Road) -> None:
    """The first has one of its own, in whose time the others must not travel."""
    bounds: list[list[list[str]]] = []

    @asynccontextmanager
    async def bound() -> AsyncGenerator[None]:
        bounds.append(list(road.journeys))
        yield

    lane = Lane[str](bound)
    tasks = await first_and(lane, road, ["a"])
    road.open.release()
    road.open.release()
    await asyncio.gather(*tasks)
    assert bounds == [[["first"]]]


async def test_an_idle_lane_is_free_again(lane: Lane[str], road: Road) -> None:
    """After those that waited, the next goes straight out."""
    tasks = await first_and(lane, road, ["a"])
    for _ in range(3):
        road.open.release()
    await asyncio.gather(*tasks)
    assert await lane.run(["next"], road.send) == ["NEXT"]
    assert road.journeys == [["first"], ["a"], ["next"]]


async def test_so_many_commands_travel_together_and_no_more(lane: Lane[str], road: Road) -> None:
    """What is over the bound goes with the next journey; one request is never divided."""
    tasks = await first_and(lane, road, ["a"] * (MAX_COMMANDS - 1), ["b"], ["c"], ["d"] * (MAX_COMMANDS + 1))
    for _ in range(4):
        road.open.release()
    await asyncio.gather(*tasks)
    assert [len(journey) for journey in road.journeys] == [1, MAX_COMMANDS, 1, MAX_COMMANDS + 1]


async def test_so_many_bytes_travel_together_and_no_more(lane: Lane[str], road: Road) -> None:
    """As with commands."""
    tasks = await first_and(lane, road)
    tasks += [set_out(lane, road, str(number), size=MAX_BYTES // 2) for number in range(3)]
    for _ in range(3):
        road.open.release()
    await asyncio.gather(*tasks)
    assert road.journeys == [["first"], ["0", "1"], ["2"]]


async def test_who_is_cancelled_leaves_alone(lane: Lane[str], road: Road) -> None:
    """Waiting or under way: the others have their answers, and what was not sent yet is not sent."""
    first, waiting, other = await first_and(lane, road, ["waiting"], ["other"])
    waiting.cancel()
    road.open.release()
    await wait_until(lambda: len(road.journeys) == 2)
    late = set_out(lane, road, "late")
    other_too = set_out(lane, road, "other too")
    await asyncio.sleep(0)
    late.cancel()
    for _ in range(2):
        road.open.release()
    assert await asyncio.gather(first, other, other_too) == [["FIRST"], ["OTHER"], ["OTHER TOO"]]
    assert road.journeys == [["first"], ["other"], ["other too"]]


async def test_the_first_is_cancelled(lane: Lane[str], road: Road) -> None:
    """Those that wait behind it leave without it."""
    first, other = await first_and(lane, road, ["other"])
    first.cancel()
    road.open.release()
    assert await other == ["OTHER"]


async def test_one_of_those_under_way_together_is_cancelled(lane: Lane[str], road: Road) -> None:
    """The other has its own answer."""
    first, one, other = await first_and(lane, road, ["one"], ["other"])
    road.open.release()
    await wait_until(lambda: len(road.journeys) == 2)
    one.cancel()
    road.open.release()
    assert await asyncio.gather(first, other) == [["FIRST"], ["OTHER"]]


async def test_an_accident_is_everybodys(lane: Lane[str], road: Road) -> None:
    """All that travel together have the error, and the lane goes on."""
    road.breaks = ConnectionError()
    tasks = await first_and(lane, road, ["a"], ["b"])
    road.open.release()
    road.open.release()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results == [road.breaks] * 3
    road.breaks = None
    road.open.release()
    assert await lane.run(["next"], road.send) == ["NEXT"]


def test_an_event_loop_that_ends_strands_nobody(road: Road) -> None:
    """Whoever waits is cancelled with it."""
    ended: list[bool] = []

    async def wait(lane: Lane[str], road: Road) -> None:
        try:
            await lane.run(["a"], road.send)
        finally:
            ended.append(True)

    async def main() -> None:
        lane: Lane[str] = Lane(nullcontext)
        road = Road()
        tasks = [asyncio.create_task(wait(lane, road)) for _ in range(3)]
        await wait_until(lambda: road.journeys)
        road.open.release()
        await wait_until(lambda: len(road.journeys) == 2)
        assert [task.done() for task in tasks] == [True, False, False]

    asyncio.run(main())
    assert ended == [True] * 3
