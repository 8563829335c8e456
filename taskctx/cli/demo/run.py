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
from .cluster import Cluster, Problem, start_cluster
from .exchange import DocketExchange, Exchange
from .metrics import REGISTRIES, Scrape, quantile, scrape
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

    Without ``intact`` contexts in what it gives, but a ``problem``, a task did not see the caller who submitted it.

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
        scrapes = {member.name: await scrape(client, member.metrics_url) for member in cluster.members}
        for name, each in scrapes.items():
            if each.not_ok:
                raise ContextLost(f"{name} counted {each.not_ok} restores that were not ok")
    except ContextLost as lost:
        return _counts(ledger, sending) | {"problem": str(lost)}
    # a request whose task was retried once, if there is one: its trace crosses the queue twice
    shown = next((request for request in sending if request.failures == 1), sending[0])
    return (
        _counts(ledger, sending)
        | {
            "callers": len({request.headers["x-caller"] for request in sending}),
            "requests_by_kind": Counter(str(request.kind) for request in sending),
            "task_runs": ledger.runs_seen,
            "seconds": round(seconds, 3),
            "backend": cluster.queue,
            "note": cluster.note,
            "trace": {
                "trace_id": shown.trace_id,
                "tree": await find_tree(directory, shown.trace_id, len(shown.runs)),
            },
            "pids": {process.name: process.pid for process in cluster.processes.started},
        }
        | _measured(cluster, ledger, scrapes)
    )


def _counts(ledger: Ledger, requests: Sequence[Request]) -> Facts:
    intact, count = ledger.intact, len(requests)
    return {"contexts_intact": f"{intact}/{count}", "intact": intact, "requests": count}


def _measured(cluster: Cluster, ledger: Ledger, scrapes: dict[str, Scrape]) -> Facts:
    """What the metrics of the processes say."""
    lookups = [each.lookups for each in scrapes.values()]
    return {
        "workers": [
            {
                "name": member.name,
                "pid": member.process.pid,
                "in_server": member.name == SERVER,
                "task_runs": ledger.runs_by_worker[member.name],
                "restores_ok": scrapes[member.name].ok,
                "restores_not_ok": scrapes[member.name].not_ok,
                "registry_lookups": scrapes[member.name].lookups,
                "metrics_url": member.metrics_url,
            }
            for member in cluster.members
        ],
        "restore_seconds": {
            "p50": quantile(0.5, scrapes.values()),
            "p99": quantile(0.99, scrapes.values()),
            "source": f"{RESTORE_DURATION.name}, scraped from all processes",
        },
        "registry_lookups": {
            name: {what: sum(each[name][what] for each in lookups) for what in ("hits", "lookups")}
            for name in REGISTRIES
        },
        "scrape": [member.metrics_url for member in cluster.members],
    }


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
