"""Whose code it is that runs, by where its file lies; the first that fits."""

from __future__ import annotations

PARTS: dict[str, tuple[str, ...]] = {
    "taskctx: telemetry": ("taskctx/telemetry/", "taskctx/_observe.py", "taskctx/operations.py"),
    "taskctx: the way to Redis": tuple(
        f"taskctx/{name}.py" for name in ("_backend", "_bounded", "_bulk", "_lane", "_store")
    ),
    "taskctx: FastMCP": ("taskctx/fastmcp/",),
    "taskctx: all else": ("taskctx/",),
    "FastMCP": ("/fastmcp/", "/fastmcp_tasks/", "/mcp/"),
    "Docket": ("/docket/", "/uncalled_for/"),
    "prometheus_client": ("/prometheus_client/",),
    "redis-py": ("/redis/",),
    "OpenTelemetry": ("/opentelemetry/",),
    "pydantic": ("/pydantic/",),
    "asyncio": ("/asyncio/",),
}
OTHERS = "the standard library, and others"
