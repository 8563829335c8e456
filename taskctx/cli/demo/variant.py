"""What is run: servers and workers of Docket's own, or FastMCP's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import cast

import httpx

from .callers import Request, make_requests
from .checks import Ledger
from .cluster import DOCKET_PROGRAM, Cluster, Program
from .exchange import Progress, exchange
from .outcome import Problem
from .processes import PACKAGE

Exchange = Callable[[Cluster, httpx.AsyncClient, Sequence[Request], Ledger, Progress], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Variant:
    """What is started, what is sent to it, and how."""

    program: Program
    make_requests: Callable[[int, bytes], list[Request]]
    exchange: Exchange


DOCKET = Variant(DOCKET_PROGRAM, make_requests, exchange)


def variant(*, fastmcp: bool) -> Variant:
    """The one that was asked for.

    Raises:
        Problem: FastMCP is not installed.
    """
    if not fastmcp:
        return DOCKET
    try:
        # only now: it is of an extra of its own
        return cast("Variant", resolve_name(f"{PACKAGE}.fastmcp_client:FASTMCP"))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("taskctx"):
            raise
        raise Problem(
            f"taskctx demo --fastmcp needs {error.name}, which is not installed: pip install 'taskctx[demo,fastmcp]'"
        ) from None
