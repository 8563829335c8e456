"""The instrumentor for ``opentelemetry-instrument``.  It logs a warning when it cannot instrument FastMCP."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any

from .observers import logger


class FastMCPInstrumentor:
    """The class behind the entry point ``taskctx_fastmcp``, which ``opentelemetry-instrument`` loads."""

    def instrument(self, **_options: Any) -> None:
        try:
            # imported here, because the import fails where FastMCP is missing or has an unsupported version
            resolve_name("taskctx.fastmcp:instrument")()
        except Exception as error:  # noqa: BLE001 - an exception would stop the instrumentation of all other libraries
            logger.warning("FastMCP is not instrumented by taskctx: %s", error)

    def uninstrument(self, **_options: Any) -> None:
        resolve_name("taskctx.fastmcp:uninstrument")()
