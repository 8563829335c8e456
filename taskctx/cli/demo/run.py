"""The demo from start to end; its result is one JSON object."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from tempfile import TemporaryDirectory
from typing import Any, cast

import httpx

from taskctx.telemetry.names import RESTORE_DURATION

from ..operating.fleet import Process
from .callers import Request
from .checks import ContextLost, Ledger
from .cluster import Cluster, DemoError, start_cluster
from .exchange import Exchange
from .metrics import lookups, quantile, restores, scrape
from .progress import Screen
from .sighting import SERVER
from .tracing import find_tree

Facts = dict[str, Any]
"""The result, as ``--json`` prints it."""


async def run(
    stack: AsyncExitStack, screen: Screen, *, requests: int, workers: int, url: str | None, fastmcp: bool
) -> Facts:
    """Start the processes, send the requests, compare the reports; ``stack`` stops the processes.

    When a task did not see the caller that submitted it, the result has a ``problem`` and only the counts.

    Raises:
        DemoError, ProcessError: the demo could not run.
    """
    chosen, key = _exchange(fastmcp=fastmcp), secrets.token_bytes(32)
    directory = Path(stack.enter_context(TemporaryDirectory(prefix="taskctx-demo-")))
    client = await stack.enter_async_context(httpx.AsyncClient(trust_env=False, timeout=30))
    program = {"app": chosen.app, "worker": chosen.worker}
    cluster = await start_cluster(stack, directory, **program, url=url, workers=workers, signing_key=key)
    sending = chosen.make_requests(requests, key)
    ledger = Ledger(sending)
    screen.sending(len(sending), ledger.runs_expected)
    began = time.monotonic()
    try:
        await chosen(cluster, client, ledger).run(sending, screen)
        seconds = time.monotonic() - began
        scraped = {name: await scrape(client, metrics_url) for name, metrics_url in cluster.metrics.items()}
        workers_facts = [_worker(cluster, ledger, name, metrics) for name, metrics in scraped.items()]
    except ContextLost as lost:
        return _counts(ledger, sending) | {"problem": str(lost)}
    processes = list(scraped.values())
    # a request with a task that was retried once, if there is one: its trace crosses the queue twice
    shown = next((request for request in sending if request.failures == 1), sending[0])
    return _counts(ledger, sending) | {
        "callers": len({request.headers["x-caller"] for request in sending}),
        "requests_by_kind": Counter(str(request.kind) for request in sending),
        "task_runs": ledger.runs_seen,
        "seconds": round(seconds, 3),
        "backend": cluster.queue,
        "note": cluster.note,
        "workers": workers_facts,
        "restore_seconds": {
            "p50": quantile(0.5, processes),
            "p99": quantile(0.99, processes),
            "source": f"{RESTORE_DURATION.name}, scraped from all processes",
        },
        "registry_lookups": lookups(processes),
        "trace": {"trace_id": shown.trace_id, "tree": await find_tree(directory, shown.trace_id, len(shown.runs))},
        "scrape": list(cluster.metrics.values()),
        "pids": _pids(cluster),
    }


def _worker(cluster: Cluster, ledger: Ledger, name: str, metrics: Process) -> Facts:
    """The facts of one process with a worker, by its metrics.

    Raises:
        ContextLost: the process counted a restore that was not ``ok``.
    """
    ok, not_ok = restores(metrics)
    if not_ok:
        raise ContextLost(f"{name} counted {not_ok} restores that were not ok")
    return {
        "name": name,
        "pid": _pids(cluster)[name],
        "in_server": name == SERVER,
        "task_runs": ledger.runs_by_worker[name],
        "restores_ok": ok,
        "restores_not_ok": not_ok,
        "registry_lookups": lookups([metrics]),
        "metrics_url": cluster.metrics[name],
    }


def _pids(cluster: Cluster) -> dict[str, int]:
    return {process.name: process.pid for process in cluster.processes.started}


def _counts(ledger: Ledger, requests: Sequence[Request]) -> Facts:
    intact, count = ledger.intact, len(requests)
    return {"contexts_intact": f"{intact}/{count}", "intact": intact, "requests": count}


def _exchange(*, fastmcp: bool) -> type[Exchange]:
    """The exchange for HTTP or for FastMCP; checks that FastMCP is installed."""
    if not fastmcp:
        return Exchange
    # in FastMCP 3.4 the tasks are part of FastMCP itself
    for module, *instead in (("fastmcp",), ("fastmcp_tasks", "fastmcp.server.tasks")):
        if not any(map(find_spec, (module, *instead))):
            needs = f"needs {module}, which is not installed: pip install 'taskctx[demo,fastmcp]'"
            raise DemoError(f"taskctx demo --fastmcp {needs}")
    return cast("type[Exchange]", resolve_name(f"{__package__}.fastmcp_client:FastMCPExchange"))
