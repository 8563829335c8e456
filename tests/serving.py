"""Real servers for tests."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from tests.helpers import wait_until


@asynccontextmanager
async def serving(app: Any, **options: Any) -> AsyncGenerator[str]:
    """A real uvicorn on a free port, with these options of its; gives its address."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config: Any = {"log_config": None, "ws": "none"} | options
        server = uvicorn.Server(uvicorn.Config(app, **config))
        running = asyncio.create_task(server.serve([listening]))
        try:
            await wait_until(lambda: server.started or running.done())
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running
