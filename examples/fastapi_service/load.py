"""Callers for the service: each orders reports, waits for them, fetches them, and looks whether they are their own.

Bounded in rate, in number and in what is under way at once::

    python -m examples.fastapi_service.load --url http://127.0.0.1:8000 --rate 5 --count 300

Ends with what came of it, and with 1 when a report was not its caller's.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx

from . import auth
from .settings import ApiSettings
from .store import Kind

MAX_RATE = 100.0
MAX_COUNT = 1_000_000
UNDER_WAY = 200
PATIENCE = 60.0
"""Seconds that a report may take."""

MIX = (Kind.SUMMARY,) * 10 + (Kind.DIGEST,) * 6 + (Kind.ACCOUNT,) * 3 + (Kind.MARKET,)


@dataclass
class Load:
    """Sends orders; ``outcomes`` counts how they ended.

    ``ready``: as it should be.  ``anonymous``: made without the request's context.  ``failed``: the task gave up.
    ``refused``: the API said no.  ``late``: nothing for a minute.  ``wrong``: another caller's report.
    """

    client: httpx.AsyncClient
    key: str = field(repr=False)
    outcomes: Counter[str] = field(default_factory=Counter[str])

    async def run(self, *, rate: float, count: int, callers: int) -> None:
        under_way = asyncio.Semaphore(UNDER_WAY)
        loop = asyncio.get_running_loop()
        start = loop.time()
        async with asyncio.TaskGroup() as group:
            for number, kind in enumerate(itertools.islice(_kinds(), count)):
                await asyncio.sleep(start + number / rate - loop.time())
                await under_way.acquire()
                task = group.create_task(self._one(f"caller-{number % callers}", kind))
                task.add_done_callback(lambda _: under_way.release())

    async def _one(self, caller: str, kind: Kind) -> None:
        try:
            self.outcomes[await self._order(caller, kind)] += 1
        except (httpx.HTTPError, KeyError, ValueError):
            self.outcomes["refused"] += 1

    async def _order(self, caller: str, kind: Kind) -> str:
        request = uuid.uuid4().hex
        headers = {"authorization": f"Bearer {auth.issue(self.key, caller)}", "x-tenant": f"tenant-of-{caller}"}
        ordered = {"x-request-id": request} | headers
        answer = await self.client.post("/reports", json={"kind": kind}, headers=ordered)
        place = answer.raise_for_status().headers["location"]
        status = await self._wait(place, headers)
        if status != "ready":
            return status
        content = (await self.client.get(f"{place}/content", headers=headers)).raise_for_status().text
        found = dict(line.split(": ", 1) for line in content.splitlines() if ": " in line)
        if found["for"] != f"reports-web|{caller}":
            return "wrong"
        return "ready" if (found["request"], found["tenant"]) == (request, f"tenant-of-{caller}") else "anonymous"

    async def _wait(self, place: str, headers: dict[str, str]) -> str:
        """``ready``, ``failed``, or ``late``."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE
        while loop.time() < deadline:
            status = (await self.client.get(place, headers=headers)).raise_for_status().json()["status"]
            if status != "queued":
                return status
            await asyncio.sleep(0.25)
        return "late"


def _kinds() -> Iterator[Kind]:
    """The mix, over and over, in an order in which the kinds take turns."""
    return itertools.cycle(MIX[step * 7 % len(MIX)] for step in range(len(MIX)))


def _bounded(low: float, high: float, kind: type[float] = float) -> type[float]:
    """An argument type for numbers between two."""

    def parse(text: str) -> float:
        number = kind(text)
        if not low <= number <= high:
            raise argparse.ArgumentTypeError(f"must be between {low:g} and {high:g}")
        return number

    return parse  # type: ignore[return-value]


async def main(url: str, key: str, *, rate: float, count: int, callers: int) -> int:
    async with httpx.AsyncClient(base_url=url, timeout=10) as client:
        load = Load(client, key)
        await load.run(rate=rate, count=count, callers=callers)
    sys.stdout.write("".join(f"{outcome}: {number}\n" for outcome, number in sorted(load.outcomes.items())))
    return 1 if load.outcomes["wrong"] else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Callers for the example service.")
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="where the API is")
    parser.add_argument("--rate", type=_bounded(0.1, MAX_RATE), default=5.0, help="orders a second")
    parser.add_argument("--count", type=_bounded(1, MAX_COUNT, int), default=300, help="orders in all")
    parser.add_argument("--callers", type=_bounded(1, 10_000, int), default=20, help="how many people they come from")
    given = parser.parse_args()
    signing_key = ApiSettings().signing_key.get_secret_value()
    sys.exit(
        asyncio.run(main(given.url, signing_key, rate=given.rate, count=int(given.count), callers=int(given.callers)))
    )
