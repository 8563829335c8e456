"""A primary with a replica, and a Sentinel that fails over between them."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from tests.faults.valkey import Valkey
from tests.processes.support import Start
from tests.processes.topologies import ask, follows, is_primary, sentinel_url, start_sentinel, wait_for


@dataclass
class Pair:
    """Two servers and their Sentinel.

    Attributes:
        sentinel: its port.
    """

    primary: Valkey
    replica: Valkey
    sentinel: int

    @classmethod
    async def around(cls, primary: Valkey, start: Start, directory: Path, *, down_after: int) -> Pair:
        """Give a server a replica, without which it takes no writes, and have a Sentinel watch both.

        Args:
            down_after: milliseconds after which the Sentinel takes a server that does not answer for gone.
        """
        replica = await Valkey(start, directory / "replica").up()
        await ask(primary.port, "CONFIG", "SET", "repl-diskless-sync-delay", 0)
        await ask(replica.port, "REPLICAOF", "127.0.0.1", primary.port)
        await wait_for(replica.port, follows(primary.port))
        await ask(primary.port, "CONFIG", "SET", "min-replicas-to-write", 1)
        sentinel = await start_sentinel(
            start, directory, primary.port, down_after_milliseconds=down_after, failover_timeout=5000
        )
        await wait_for(sentinel, _knows_the_replica)
        return cls(primary, replica, sentinel)

    @property
    def url(self) -> str:
        return sentinel_url(self.sentinel)

    async def hand_over(self) -> None:
        """Have the servers change roles, in order: the primary takes no writes until the replica has them all."""
        await wait_for(self.sentinel, _hand_over)
        await self.handed_over()
        await wait_for(self.primary.port, follows(self.replica.port))
        self.primary, self.replica = self.replica, self.primary

    async def handed_over(self) -> None:
        """Wait until the replica is the primary, by its own word and by the Sentinel's."""

        async def names_the_replica(redis: Redis) -> bool:
            address: Any = await redis.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", "primary")
            return int(address[1]) == self.replica.port

        await wait_for(self.sentinel, names_the_replica)
        await wait_for(self.replica.port, is_primary)


async def _knows_the_replica(redis: Redis) -> bool:
    replicas: Any = await redis.execute_command("SENTINEL REPLICAS", "primary")
    return bool(replicas)


async def _hand_over(redis: Redis) -> bool:
    try:
        await redis.execute_command("SENTINEL FAILOVER", "primary", "COORDINATED")
    except ResponseError:
        return False  # it has not heard of the replica for too long, or has not done with another failover
    return True
