"""Moving a slot of a cluster from node to node, while it is in use."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections import Counter
from typing import Any

from redis.asyncio import Redis

from tests.processes.topologies import Cluster, Node, ask


async def move_slot(cluster: Cluster, slot: int, source: Node, target: Node, *, step: int = 10) -> int:
    """Move a slot with its keys, some at a time, as ``valkey-cli --cluster reshard`` does; gives how many keys."""
    await ask(target.port, "CLUSTER", "SETSLOT", slot, "IMPORTING", await source.id())
    await ask(source.port, "CLUSTER", "SETSLOT", slot, "MIGRATING", await target.id())
    moved = 0
    async with Redis(port=source.port, socket_timeout=30) as redis:
        while keys := await redis.execute_command("CLUSTER", "GETKEYSINSLOT", slot, step):
            await redis.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
            moved += len(keys)
    for node in (target, source, *cluster.primaries):
        await ask(node.port, "CLUSTER", "SETSLOT", slot, "NODE", await target.id())
    return moved


async def redirections(cluster: Cluster) -> Counter[str]:
    """How often the nodes sent a client elsewhere, or told it to try again, by their word for it."""
    told: Counter[str] = Counter()
    for node in cluster.primaries:
        stats: dict[str, Any] = await ask(node.port, "INFO", "errorstats")
        for name, value in stats.items():
            told[name.removeprefix("errorstat_")] += value["count"]
    return told
