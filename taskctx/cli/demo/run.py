"""The demo from start to end: what it found is one JSON object."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx

from taskctx.telemetry.names import RESTORE_DURATION

from .callers import Request
from .checks import ContextLost, Ledger
from .cluster import Problem, start_cluster
from .exchange import DocketExchange, Exchange
from .metrics import REGISTRIES, quantile, scrape
from .progress import Screen
from .sighting import SERVER
from .tracing import find_tree

Facts = dict[str, Any]
"""What was found, as ``--json`` prints it."""


async def run(
    *,
    requests: int,
    workers: int,
    url: str | None,
    fastmcp: bool,
    directory: Path,
    screen: Screen,
    stack: AsyncExitStack,
) -> Facts:
    """Start everything, send everything, compare everything; ``stack`` stops what was started.

    When a task did not see the caller who submitted it, what it gives has a ``problem``, and only counts beside.

    Raises:
        Problem, ProcessError: the demo could not be run.
    """
    chosen, signing_key = _exchange(fastmcp=fastmcp), secrets.token_bytes(32)
    client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=30))
    screen.starting()
    cluster = await start_cluster(chosen.program, stack, directory, url=url, workers=workers, signing_key=signing_key)
    sending = chosen.make_requests(requests, signing_key)
    ledger = Ledger(sending)
    screen.sending(len(sending), ledger.runs_expected)
    began = time.monotonic()
    try:
        await chosen(cluster, client, ledger).run(sending, screen.seen)
        seconds = time.monotonic() - began
        scrapes = [await scrape(client, member) for member in cluster.members]
    except ContextLost as lost:
        return _counts(ledger, sending) | {"problem": str(lost)}
    # a request whose task was retried once, if there is one: its trace crosses the queue twice
    shown = next((request for request in sending if request.failures == 1), sending[0])
    return _counts(ledger, sending) | {
        "callers": len({request.headers["x-caller"] for request in sending}),
        "requests_by_kind": Counter(str(request.kind) for request in sending),
        "task_runs": ledger.runs_seen,
        "seconds": round(seconds, 3),
        "backend": cluster.queue,
        "note": cluster.note,
        "workers": [
            {
                "name": each.name,
                "pid": each.process.pid,
                "in_server": each.name == SERVER,
                "task_runs": ledger.runs_by_worker[each.name],
                "restores_ok": scrape.ok,
                "restores_not_ok": scrape.not_ok,
                "registry_lookups": scrape.lookups,
                "metrics_url": each.metrics_url,
            }
            for each, scrape in zip(cluster.members, scrapes, strict=True)
        ],
        "restore_seconds": {
            "p50": quantile(0.5, scrapes),
            "p99": quantile(0.99, scrapes),
            "source": f"{RESTORE_DURATION.name}, scraped from all processes",
        },
        "registry_lookups": {
            registry: {what: sum(each.lookups[registry][what] for each in scrapes) for what in ("hits", "lookups")}
            for registry in REGISTRIES
        },
        "trace": {"trace_id": shown.trace_id, "tree": await find_tree(directory, shown.trace_id, len(shown.runs))},
        "scrape": [member.metrics_url for member in cluster.members],
        "pids": {process.name: process.pid for process in cluster.processes.started},
    }


def _counts(ledger: Ledger, requests: Sequence[Request]) -> Facts:
    intact, count = ledger.intact, len(requests)
    return {"contexts_intact": f"{intact}/{count}", "intact": intact, "requests": count}


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
