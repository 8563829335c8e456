"""Requests of concurrent tasks travel together, and none of them can tell."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

import pytest

from taskctx._transport.lane import MAX_BYTES, MAX_REQUESTS, Lane
from tests.helpers import wait_until


@dataclass
class Road:
    """Answers each request with itself in capitals, one journey at a time, when the test lets it go."""

    journeys: list[list[str]] = field(default_factory=list[list[str]])
    open: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    breaks: Exception | None = None

    async def send(self, request: str) -> str:
        (answer,) = await self.send_batch([request])
        return answer

    async def send_batch(self, requests: Sequence[str]) -> list[str]:
        self.journeys.append(list(requests))
        await self.open.acquire()
        if self.breaks:
            raise self.breaks
        return [request.upper() for request in requests]


TestedLane = Lane[str, str]

SHORT = 0.05


@pytest.fixture
def road() -> Road:
    return Road()


@pytest.fixture
async def lane(road: Road) -> TestedLane:
    return Lane(road.send, road.send_batch)


def set_out(lane: TestedLane, request: str, size: int = 0) -> asyncio.Task[str]:
    return asyncio.create_task(lane.ask(request, size))


async def first_and(lane: TestedLane, road: Road, *others: str) -> list[asyncio.Task[str]]:
    """One request under way, and others that came after it."""
    tasks = [set_out(lane, "first"), *(set_out(lane, request) for request in others)]
    await wait_until(lambda: road.journeys)
    return tasks


async def test_the_first_goes_straight_out(lane: TestedLane, road: Road) -> None:
    """A lone request waits for no other."""
    road.open.release()
    assert await lane.ask("a") == "A"
    assert road.journeys == [["a"]]


async def test_those_that_come_meanwhile_leave_together(lane: TestedLane, road: Road) -> None:
    """They are sent as one batch in their order, and each gets its own answer."""
    tasks = await first_and(lane, road, "a", "b", "c")
    road.open.release()
    road.open.release()
    assert await asyncio.gather(*tasks) == ["FIRST", "A", "B", "C"]
    assert road.journeys == [["first"], ["a", "b", "c"]]


async def test_only_those_who_waited_travel_in_a_task_of_their_own() -> None:
    """The first is sent in its own task, context and time, in none of which the others must travel."""
    who: ContextVar[str] = ContextVar("who", default="anonymous")
    seen: list[tuple[str, asyncio.Task[object] | None]] = []
    let_go = asyncio.Event()

    async def send(request: str) -> str:
        seen.append((who.get(), asyncio.current_task()))
        await let_go.wait()
        return request

    async def send_batch(requests: Sequence[str]) -> Sequence[str]:
        seen.append((who.get(), asyncio.current_task()))
        return requests

    lane = Lane(send, send_batch)

    async def ask(request: str) -> str:
        who.set(request)
        return await lane.ask(request)

    tasks = [asyncio.create_task(ask(request)) for request in ("first", "a")]
    await wait_until(lambda: seen)
    let_go.set()
    assert await asyncio.gather(*tasks) == ["first", "a"]
    (first, in_first), (batch, in_batch) = seen
    assert (first, batch) == ("first", "anonymous")
    assert in_first is tasks[0]
    assert in_batch not in tasks


async def test_an_idle_lane_is_free_again(lane: TestedLane, road: Road) -> None:
    """After those that waited, the next goes straight out."""
    tasks = await first_and(lane, road, "a")
    for _ in range(3):
        road.open.release()
    await asyncio.gather(*tasks)
    assert await lane.ask("next") == "NEXT"
    assert road.journeys == [["first"], ["a"], ["next"]]


async def test_so_many_requests_travel_together_and_no_more(lane: TestedLane, road: Road) -> None:
    """What is over the limit goes with the next journey."""
    tasks = await first_and(lane, road, *("a" for _ in range(MAX_REQUESTS)), "b")
    for _ in range(3):
        road.open.release()
    await asyncio.gather(*tasks)
    assert [len(journey) for journey in road.journeys] == [1, MAX_REQUESTS, 1]


async def test_a_lane_may_take_fewer_at_a_time(road: Road) -> None:
    """A batch has at most as many requests as the lane's own limit."""
    lane = Lane(road.send, road.send_batch, 2)
    tasks = await first_and(lane, road, "a", "b", "c")
    for _ in range(3):
        road.open.release()
    await asyncio.gather(*tasks)
    assert road.journeys == [["first"], ["a", "b"], ["c"]]


async def test_so_many_bytes_travel_together_and_no_more(lane: TestedLane, road: Road) -> None:
    """A batch stays below the limit of bytes; a larger request is sent alone."""
    tasks = await first_and(lane, road)
    tasks += [set_out(lane, str(number), size=MAX_BYTES // 2) for number in range(3)]
    tasks += [set_out(lane, "large", size=MAX_BYTES + 1), set_out(lane, "small", size=1)]
    for _ in range(5):
        road.open.release()
    await asyncio.gather(*tasks)
    assert road.journeys == [["first"], ["0", "1"], ["2"], ["large"], ["small"]]


async def test_who_is_cancelled_leaves_alone(lane: TestedLane, road: Road) -> None:
    """Waiting or under way: the others have their answers, and what was not sent yet is not sent."""
    first, waiting, other = await first_and(lane, road, "waiting", "other")
    waiting.cancel()
    road.open.release()
    await wait_until(lambda: len(road.journeys) == 2)
    late = set_out(lane, "late")
    other_too = set_out(lane, "other too")
    await asyncio.sleep(0)
    late.cancel()
    for _ in range(2):
        road.open.release()
    assert await asyncio.gather(first, other, other_too) == ["FIRST", "OTHER", "OTHER TOO"]
    assert road.journeys == [["first"], ["other"], ["other too"]]


async def test_the_first_is_cancelled(lane: TestedLane, road: Road) -> None:
    """Those that wait behind it leave without it."""
    first, other = await first_and(lane, road, "other")
    first.cancel()
    road.open.release()
    assert await other == "OTHER"


async def test_one_of_those_under_way_together_is_cancelled(lane: TestedLane, road: Road) -> None:
    """The other has its own answer."""
    first, one, other = await first_and(lane, road, "one", "other")
    road.open.release()
    await wait_until(lambda: len(road.journeys) == 2)
    one.cancel()
    road.open.release()
    assert await asyncio.gather(first, other) == ["FIRST", "OTHER"]


async def test_an_error_of_the_journey_is_that_of_all(lane: TestedLane, road: Road) -> None:
    """All that travel together have it, and the lane goes on."""
    road.breaks = ConnectionError()
    tasks = await first_and(lane, road, "a", "b")
    road.open.release()
    road.open.release()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results == [road.breaks] * 3
    road.breaks = None
    road.open.release()
    assert await lane.ask("next") == "NEXT"


async def test_an_answer_that_does_not_come_holds_up_no_others(road: Road) -> None:
    """They go without waiting for it any longer, and those after them too; each has its own answer when that comes."""
    lane = Lane(road.send, road.send_batch, patience=SHORT)
    tasks = await first_and(lane, road, "a", "b")
    await wait_until(lambda: len(road.journeys) == 2)
    tasks.append(set_out(lane, "c"))
    await wait_until(lambda: len(road.journeys) == 3)
    for _ in range(3):
        road.open.release()
    assert await asyncio.gather(*tasks) == ["FIRST", "A", "B", "C"]
    assert road.journeys == [["first"], ["a", "b"], ["c"]]
    road.open.release()
    assert await lane.ask("next") == "NEXT"


async def test_a_late_answer_sends_nothing(road: Road) -> None:
    """Of those that have waited since, who go when the answer to the newest comes."""
    lane = Lane(road.send, road.send_batch, patience=SHORT)
    first, a = await first_and(lane, road, "a")
    await wait_until(lambda: len(road.journeys) == 2)
    lane.patience = 60.0
    b = set_out(lane, "b")
    road.open.release()  # for the first, which waits for the longest time
    assert await first == "FIRST"
    assert road.journeys == [["first"], ["a"]]
    for _ in range(2):
        road.open.release()
    assert await asyncio.gather(a, b) == ["A", "B"]


def test_an_event_loop_that_ends_strands_no_request() -> None:
    """When the event loop ends, it cancels every waiting request."""
    ended: list[bool] = []

    async def wait(lane: TestedLane) -> None:
        try:
            await lane.ask("a")
        finally:
            ended.append(True)

    async def main() -> None:
        road = Road()
        lane = Lane(road.send, road.send_batch)
        tasks = [asyncio.create_task(wait(lane)) for _ in range(3)]
        await wait_until(lambda: road.journeys)
        road.open.release()
        await wait_until(lambda: len(road.journeys) == 2)
        assert [task.done() for task in tasks] == [True, False, False]

    asyncio.run(main())
    assert ended == [True] * 3
