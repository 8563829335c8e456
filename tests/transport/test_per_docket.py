"""What a docket has one of, each event loop has for itself."""

from __future__ import annotations

import asyncio

from docket import Docket

from taskctx._transport.connection import PerDocket

DOCKET = Docket(name="never opened", url="memory://")


class Thing:
    """What is made for a docket."""

    def __init__(self, docket: Docket) -> None:
        self.docket_name = docket.name


async def of(made: PerDocket[Thing]) -> Thing:
    return made.of(DOCKET)


async def test_there_is_one_for_a_docket() -> None:
    """All asyncio tasks get the same object for a docket, and another docket gets another."""
    made = PerDocket(Thing)
    assert await of(made) is await asyncio.create_task(of(made))
    assert made.of(Docket(name="never opened", url="memory://")) is not made.of(DOCKET)


async def test_it_is_made_for_its_docket() -> None:
    """Which is what it is made of."""
    assert PerDocket(Thing).of(DOCKET).docket_name == "never opened"


def test_the_next_event_loop_has_another() -> None:
    """A second event loop in the same thread gets another object."""
    made = PerDocket(Thing)
    assert asyncio.run(of(made)) is not asyncio.run(of(made))


async def test_an_event_loop_of_another_thread_has_another() -> None:
    """While this one goes on."""
    made = PerDocket(Thing)
    here = await of(made)
    there = await asyncio.to_thread(asyncio.run, of(made))
    assert here is not there
    assert await of(made) is not there
