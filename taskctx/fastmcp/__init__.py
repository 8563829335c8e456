"""Instruments FastMCP servers and workers.

::

    from taskctx.fastmcp import instrument

    instrument()  # before the server starts, on servers and workers

FastMCP (``fastmcp[tasks]``) runs tools as Docket tasks, with a context snapshot of its own.  After ``instrument()``,
FastMCP's capture, save and restore are taskctx operations, with the spans, metrics, logs and failure reasons of any
other task.  FastMCP's snapshot then also holds trace context, baggage and carried variables, and
``TASKCTX_ENCRYPTION_KEYS`` seal it where FastMCP's own key is not set.  A process without ``instrument()`` can read
only snapshots that are not sealed.
"""

from .._upstream.fastmcp import FASTMCP_VERSION  # first: it checks the names that the import below needs
from ._instrument import instrument, uninstrument

__all__ = ["FASTMCP_VERSION", "instrument", "uninstrument"]
