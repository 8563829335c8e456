"""What ``opentelemetry-instrument`` loads.  Whatever it cannot instrument it leaves as it is, and says so."""

from __future__ import annotations

from pkgutil import resolve_name
from typing import Any

from .observers import logger


class FastMCPInstrumentor:
    """What ``opentelemetry-instrument`` finds under the entry point ``taskctx_fastmcp``."""

    def instrument(self, **_options: Any) -> None:
        try:
            # not imported above, which fails where FastMCP is missing, or is one that taskctx does not know
            resolve_name("taskctx.fastmcp:instrument")()
        except Exception as error:  # noqa: BLE001 - one that is raised ends the instrumentation of everything else
            logger.warning("FastMCP is not instrumented by taskctx: %s", error)

    def uninstrument(self, **_options: Any) -> None:
        resolve_name("taskctx.fastmcp:uninstrument")()
