"""The fault switch: while it runs, the contexts of waiting tasks are lost, as on a server that evicts them.

Bounded in time; when it ends, so does the fault, and the alerts resolve by themselves::

    python -m examples.fastapi_service.fault --seconds 240

Tasks run all the same, anonymous: see the Overview dashboard, and TaskCtxRestoreErrorBudgetBurn.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from docket import Docket

import taskctx

from .settings import Settings

MAX_SECONDS = 3600


async def main(seconds: float) -> int:
    """Remove snapshots for so many seconds, but not that of the perpetual clean-up: no request would save another."""
    settings = Settings()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    removed = 0
    async with Docket(name=settings.docket_name, url=settings.docket_url) as docket:
        while loop.time() < deadline:
            removed += await _remove_snapshots(docket)
            await asyncio.sleep(0.2)
    sys.stdout.write(f"removed {removed} contexts\n")
    return removed


async def _remove_snapshots(docket: Docket) -> int:
    # by default there is no public way to a snapshot but its key, which docs call taskctx:task:...:snapshot
    pattern = docket.key(f"{taskctx.Settings().key_prefix}:task:*:snapshot")
    async with docket.redis() as redis:
        keys = [key async for key in redis.scan_iter(match=pattern) if not key.endswith(b":clean-up:snapshot")]
        return await redis.delete(*keys) if keys else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Loses the contexts of waiting tasks, on purpose and for a while.")
    parser.add_argument("--seconds", type=float, default=240.0)
    asyncio.run(main(min(parser.parse_args().seconds, MAX_SECONDS)))
