"""Whose code it is that runs, wherever things are installed."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

import pytest

from benchmarks.parts import OTHERS, part_of

CHECKOUTS = ["/home/ada/taskctx", "/srv/redis/docket", "/opt/asyncio/fastmcp/pydantic"]


def frame_in(module: str, file: str) -> FrameType:
    """A frame of a function of this module, which lies in this file."""
    names: dict[str, Any] = {"__name__": module, "sys": sys}
    exec(compile("frame = sys._getframe()", file, "exec"), names)
    return names["frame"]


@pytest.mark.parametrize("checkout", CHECKOUTS)
@pytest.mark.parametrize(
    ("module", "part"),
    [
        ("taskctx", "taskctx: all else"),
        ("taskctx.asgi", "taskctx: all else"),
        ("taskctx.telemetry.metrics", "taskctx: telemetry"),
        ("taskctx.fastmcp", "taskctx: FastMCP"),
        ("fastmcp_tasks.keys", "FastMCP"),
        ("docket.worker", "Docket"),
        ("redis.asyncio.connection", "redis-py"),
        ("opentelemetry.instrumentation.redis", "OpenTelemetry"),
        ("asyncio.events", "asyncio"),
        ("json.decoder", OTHERS),
        ("taskctx_of_another", OTHERS),
    ],
)
def test_the_folder_of_a_checkout_does_not_matter(checkout: str, module: str, part: str) -> None:
    """A module is its package's, whatever the folders above it are called."""
    file = f"{checkout}/.venv/lib/python3/site-packages/{module.replace('.', '/')}.py"
    assert part_of(frame_in(module, file)) == part
