"""Failovers under Sentinel; slots that move, nodes that die and connections that are cut in a Cluster."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from taskctx.errors import Reason
from tests.faults.case import PATIENT, Case
from tests.faults.load import BATCHES, BUSY, PERSISTENT, UNKEYED, Load
from tests.faults.proxy import Proxy, new_random
from tests.faults.sentinel import Pair
from tests.faults.slots import move_slot, redirections
from tests.faults.stock import wiped
from tests.faults.valkey import Valkey
from tests.processes.support import Starter
from tests.processes.topologies import Cluster, is_primary, slot_of, slots_of, start_cluster, start_node, wait_for

pytestmark = pytest.mark.faults

AWAY = {Reason.BACKEND_ERROR, Reason.BACKEND_TIMEOUT}
LATER = UNKEYED | {"ahead": 1.0}
"""The tasks are due later, so that no worker needs the snapshots at once."""

DOWN_AFTER = 3000
"""Milliseconds after which a server that does not answer is taken for gone: longer than our bound of two seconds, so
that saves are refused and do not merely wait."""

OWNER = 1
"""Which of the three nodes has the docket.  Not the first: Docket holds on to that one for its cancellations, and no
worker of Docket's gets over the loss of it."""

UNHEARD = 20
"""Times that Docket had a task scheduled and did not hear of it."""

TOLD = 50
"""Redirections of each kind after which a slot has been moved often enough."""


async def under_load(case: Case, *more: dict[str, Any]) -> Load:
    """Two workers, and submitters of tasks with keys and without, and of more."""
    for _ in range(2):
        await case.worker(*BUSY)
    return await Load.of(case, PERSISTENT, UNKEYED, *more)


async def test_sentinel_failover(case: Case, server: Valkey, start: Starter, tmp_path: Path) -> None:
    """Primary killed, Sentinel promotes the replica."""
    pair = await Pair.around(server, start, tmp_path, down_after=DOWN_AFTER)
    case.url = pair.url
    load = await under_load(case, BATCHES)
    pair.primary.kill()
    old = set(case.ledger.refresh().fates)
    await pair.handed_over()
    case.server_url = pair.replica.url
    await failed_over(case, load, old)


async def test_planned_failover(case: Case, server: Valkey, start: Starter, tmp_path: Path) -> None:
    """Planned failover under Sentinel, there and back."""
    pair = await Pair.around(server, start, tmp_path, down_after=60_000)
    case.url = pair.url
    load = await under_load(case, BATCHES)
    for _ in range(2):
        await pair.hand_over()
        await load.goes_on()
    case.server_url = pair.primary.url
    await load.all_run()
    row = await case.verdict()
    assert row.saves_refused.keys() | row.restores_failed.keys() <= AWAY


async def test_slot_moved(case: Case, start: Starter, tmp_path: Path) -> None:
    """The docket's slot moved from node to node."""
    case.environment |= PATIENT
    cluster = await clustered(case, start, tmp_path)
    load = await under_load(case, BATCHES)
    here, there = cluster.primaries[OWNER], cluster.primaries[2]
    told: Counter[str] = Counter()
    while any(told[kind] < TOLD for kind in ("ASK", "MOVED", "TRYAGAIN")):
        await move_slot(cluster, slot_of(case.docket_name), here, there)
        await load.goes_on()
        here, there = there, here
        told = await redirections(cluster)
    case.server_url = f"redis://127.0.0.1:{here.port}/0"
    await load.all_run()
    row = await case.verdict()
    assert row.saves_refused == row.restores_failed == {}


async def test_connections_to_cluster_cut(case: Case, start: Starter, tmp_path: Path) -> None:
    """Connections to a cluster cut in mid-reply.

    There redis-py sends a command again whose answer was lost, and Docket is asked twice for one task: each is run once.
    """
    async with Proxy(0, new_random()).running() as proxy:
        nodes = [await start_node(start, tmp_path, **announced) for announced in ({}, _at(proxy), {})]
        owner = nodes[OWNER]
        proxy.target = owner.port
        cluster = Cluster(nodes)
        await cluster.join()
        on_cluster(case, cluster)
        load = await under_load(case, BATCHES, LATER)
        proxy.life = 50
        # by lot, and the less often the busier the machine is
        await case.until(lambda _: proxy.unheard >= UNHEARD, timeout=300)
        proxy.life = 0
        await load.goes_on()
        case.server_url = f"redis://127.0.0.1:{owner.port}/0"
        await load.all_run()
        row = await case.verdict()
    assert row.saves_refused.keys() | row.restores_failed.keys() <= AWAY


async def test_node_lost(case: Case, start: Starter, tmp_path: Path) -> None:
    """The docket's node killed, its replica takes over."""
    cluster = await clustered(case, start, tmp_path, replicated=[OWNER], cluster_node_timeout=DOWN_AFTER)
    load = await under_load(case, BATCHES)
    cluster.primaries[OWNER].process.kill()
    old = set(case.ledger.refresh().fates)
    replica = cluster.replicas[OWNER]
    await wait_for(replica.port, is_primary)
    case.server_url = f"redis://127.0.0.1:{replica.port}/0"
    await failed_over(case, load, old)


async def test_other_node_lost(case: Case, start: Starter, tmp_path: Path) -> None:
    """A node that has nothing of the docket killed.

    Without batches: Docket sends their script to every node, and schedules none while one is away.
    """
    case.environment |= PATIENT
    cluster = await clustered(
        case, start, tmp_path, cluster_node_timeout=DOWN_AFTER, cluster_require_full_coverage="no"
    )
    load = await under_load(case)
    cluster.primaries[2].process.kill()
    await wait_for(cluster.primaries[OWNER].port, misses_a_node)
    await load.goes_on()
    case.server_url = f"redis://127.0.0.1:{cluster.primaries[OWNER].port}/0"
    await load.all_run()
    row = await case.verdict()
    assert row.saves_refused == row.restores_failed == {}
    assert case.ledger.unsure == 0


async def failed_over(case: Case, load: Load, old: Collection[int]) -> None:
    """After a failover the load goes on; but for what was not replicated any more, every task runs.

    Args:
        old: numbers of tasks that the server which is gone may have accepted.
    """
    await load.goes_on()
    await load.finish()
    gone = await wiped(case)
    row = await case.verdict(gone)
    assert gone <= set(old)
    assert row.ran + len(gone) == row.tasks
    assert row.saves_refused, "nobody noticed"
    assert row.saves_refused.keys() | row.restores_failed.keys() <= AWAY


async def clustered(case: Case, start: Starter, directory: Path, **options: Any) -> Cluster:
    """Move the case to a cluster."""
    cluster = await start_cluster(start, directory, repl_diskless_sync_delay=0, **options)
    on_cluster(case, cluster)
    return cluster


def on_cluster(case: Case, cluster: Cluster) -> None:
    """Have the case's docket on the owner-to-be."""
    case.url = cluster.url
    first, last = slots_of(OWNER)
    case.docket_name = next(name for name in _names() if first <= slot_of(name) <= last)


def _at(proxy: Proxy) -> dict[str, Any]:
    """Options of a node that sends clients to a proxy."""
    return {"cluster_announce_ip": "127.0.0.1", "cluster_announce_port": proxy.port}


def _names() -> Iterator[str]:
    while True:
        yield f"faults-{uuid4()}"


async def misses_a_node(redis: Any) -> bool:
    """Whether a node has found that another is gone."""
    return any("fail" in node["flags"].split(",") for node in (await redis.cluster("NODES")).values())
