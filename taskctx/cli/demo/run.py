"""The demo from start to end, without anything that is shown at the end."""

from __future__ import annotations

import secrets
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

from . import metrics, tracing
from .callers import Request
from .checks import Ledger
from .cluster import Cluster, Member, start_cluster
from .exchange import DocketExchange, Exchange
from .metrics import Scrape
from .outcome import ContextLost, Problem
from .progress import Screen
from .tracing import Node


@dataclass(frozen=True, slots=True)
class Result:
    """What a demo that went well has to show: ``scrapes`` are those of the cluster's members, in order."""

    requests: list[Request]
    ledger: Ledger
    seconds: float
    cluster: Cluster
    scrapes: list[Scrape]
    trace_of: Request
    trace: Node | None


async def run(
    *,
    requests: int,
    workers: int,
    url: str | None,
    fastmcp: bool,
    directory: Path,
    screen: Screen,
    stack: AsyncExitStack,
) -> Result:
    """Start everything, send everything, compare everything; ``stack`` stops what was started.

    Raises:
        Problem, ProcessError: the demo could not be run.
        ContextLost: a task did not see the caller who submitted it.
    """
    chosen, signing_key = _exchange(fastmcp=fastmcp), secrets.token_bytes(32)
    client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=30))
    screen.starting()
    cluster = await start_cluster(chosen.program, stack, directory, url=url, workers=workers, signing_key=signing_key)
    sending = chosen.make_requests(requests, signing_key)
    ledger = Ledger(sending)
    screen.sending(len(sending), ledger.runs_expected)
    started = time.monotonic()
    try:
        await chosen(cluster, client, ledger).run(sending, screen.seen)
        seconds = time.monotonic() - started
        scrapes = [await _scrape(member, client) for member in cluster.members]
    except ContextLost as lost:
        lost.intact, lost.requests = ledger.intact, len(sending)
        raise
    # a request whose task was retried once, if there is one: its trace crosses the queue twice
    shown = next((request for request in sending if request.failures == 1), sending[0])
    trace = await tracing.find_tree(directory, shown.trace_id, len(shown.runs))
    return Result(sending, ledger, seconds, cluster, scrapes, shown, trace)


async def _scrape(member: Member, client: httpx.AsyncClient) -> Scrape:
    scrape = await metrics.scrape(client, member.metrics_url)
    if scrape.not_ok:
        raise ContextLost(f"{member.name} counted {scrape.not_ok} restores that were not ok")
    return scrape


def _exchange(*, fastmcp: bool) -> type[Exchange]:
    """The one that was asked for.

    Raises:
        Problem: FastMCP is not installed.
    """
    if not fastmcp:
        return DocketExchange
    try:
        from .fastmcp_client import FastMCPExchange  # noqa: PLC0415 - of an extra of its own
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("taskctx"):
            raise
        raise Problem(
            f"taskctx demo --fastmcp needs {error.name}, which is not installed: pip install 'taskctx[demo,fastmcp]'"
        ) from None
    return FastMCPExchange
