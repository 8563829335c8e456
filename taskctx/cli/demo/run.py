"""The demo from start to end, without anything that is shown."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import httpx

from . import metrics, tracing
from .callers import Request
from .checks import Ledger
from .cluster import Cluster, Member, start_cluster
from .metrics import Scrape
from .outcome import ContextLost
from .sighting import SERVER, Kind
from .tracing import Node
from .variant import variant


class Screen(Protocol):
    """Where progress is shown."""

    def step(self, text: str) -> None: ...
    def progress(self, sent: int, seen: int) -> None: ...
    def begin(self, requests: int, runs: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Work:
    """One process's part."""

    member: Member
    runs: int
    scrape: Scrape

    @property
    def is_server(self) -> bool:
        return self.member.name == SERVER


@dataclass(frozen=True, slots=True)
class Result:
    """What a demo that went well has to show."""

    requests: int
    intact: int
    callers: int
    kinds: Counter[Kind]
    runs: int
    seconds: float
    cluster: Cluster
    work: list[Work]
    trace_of: Request
    trace: Node | None

    @property
    def scrapes(self) -> list[Scrape]:
        return [each.scrape for each in self.work]


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for."""

    requests: int
    workers: int
    url: str | None = field(repr=False)
    fastmcp: bool = False


async def run(options: Options, directory: Path, screen: Screen, stack: AsyncExitStack) -> Result:
    """Start everything, send everything, compare everything; ``stack`` stops what was started.

    Raises:
        Problem: the demo could not be run.
        ContextLost: a task did not see the caller who submitted it.
    """
    chosen, signing_key = variant(fastmcp=options.fastmcp), secrets.token_bytes(32)
    client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=30))
    screen.step("starting server and workers")
    cluster = await start_cluster(
        chosen.program,
        client,
        stack,
        directory,
        url=options.url,
        workers=options.workers,
        signing_key=signing_key,
    )
    sending = chosen.make_requests(options.requests, signing_key)
    ledger = Ledger(sending)
    screen.begin(len(sending), ledger.runs_expected)
    started = time.monotonic()
    try:
        await chosen.exchange(cluster, client, sending, ledger, screen.progress)
        seconds = time.monotonic() - started
        work = [await _work(member, ledger, client) for member in cluster.members]
    except ContextLost as lost:
        lost.intact, lost.requests = ledger.intact, len(sending)
        raise
    shown = _worth_showing(sending)
    return Result(
        requests=len(sending),
        intact=ledger.intact,
        callers=len({request.headers["x-caller"] for request in sending}),
        kinds=Counter(request.kind for request in sending),
        runs=ledger.runs_seen,
        seconds=seconds,
        cluster=cluster,
        work=work,
        trace_of=shown,
        trace=await tracing.find_tree(directory, shown.trace_id, len(shown.runs)),
    )


async def _work(member: Member, ledger: Ledger, client: httpx.AsyncClient) -> Work:
    scrape = await metrics.scrape(client, member.metrics_url)
    if scrape.not_ok:
        raise ContextLost(f"{member.name} counted {scrape.not_ok} restores that were not ok")
    return Work(member, ledger.runs_by_worker[member.name], scrape)


def _worth_showing(requests: list[Request]) -> Request:
    """A request whose task was retried once, if there is one: its trace crosses the queue twice."""
    return next((request for request in requests if request.failures == 1), requests[0])
