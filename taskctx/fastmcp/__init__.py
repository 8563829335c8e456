"""FastMCP servers and workers, seen and hardened by taskctx.

::

    from taskctx.fastmcp import instrument

    instrument()  # before the server starts, on servers and workers

FastMCP (``fastmcp[tasks]``) runs tools as Docket tasks, with a context snapshot of its own.  Instrumented, its
capture, save and restore are operations of taskctx's: spans, metrics, logs and failure reasons are those of any other
task.  Trace context, baggage and carried variables ride inside FastMCP's snapshot, and ``TASKCTX_ENCRYPTION_KEYS``
seal it where FastMCP's own key is not set.  A process that is not instrumented reads what is not sealed.
"""

from .._upstream.fastmcp import FASTMCP_VERSION  # first: what is imported below needs what it looks for
from ._instrument import instrument, uninstrument

__all__ = ["FASTMCP_VERSION", "instrument", "uninstrument"]
