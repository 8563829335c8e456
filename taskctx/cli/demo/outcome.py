"""How a demo can end other than well.  Each becomes one sentence and an exit code, never a traceback."""

from __future__ import annotations

INTACT = 0
MISMATCH = 1
PROBLEM = 2


class Problem(Exception):
    """The demo could not be run: a server that is not there, a process that ended.  The message has a hint."""


class ContextLost(Exception):
    """A task saw another context than was sent, or none, or never ran.  The message holds no value that was sent.

    Attributes:
        intact: contexts that had been found intact by then.
        requests: how many were to be.
    """

    intact = 0
    requests = 0
