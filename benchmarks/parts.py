"""Whose code it is that runs, by the module that it is in; the first part that fits.

Where a module lies does not matter: a checkout, and so its ``.venv``, may be below a folder of any name.
"""

from __future__ import annotations

from functools import cache
from types import FrameType

PARTS: dict[str, tuple[str, ...]] = {
    "taskctx: telemetry": ("taskctx.telemetry", "taskctx.operations"),
    "taskctx: the way to Redis": ("taskctx._transport",),
    "taskctx: FastMCP": ("taskctx.fastmcp",),
    "taskctx: all else": ("taskctx",),
    "FastMCP": ("fastmcp", "fastmcp_tasks", "mcp"),
    "Docket": ("docket", "uncalled_for"),
    "prometheus_client": ("prometheus_client",),
    "redis-py": ("redis",),
    "OpenTelemetry": ("opentelemetry",),
    "pydantic": ("pydantic",),
    "asyncio": ("asyncio",),
}
OTHERS = "the standard library, and others"


def part_of(frame: FrameType) -> str:
    """The part that a function's code is in; what a dataclass generates is in the module of its class."""
    return _part(frame.f_globals.get("__name__", ""))


@cache
def _part(module: str) -> str:
    within = f"{module}."
    return next((part for part, places in PARTS.items() if any(within.startswith(f"{p}.") for p in places)), OTHERS)
