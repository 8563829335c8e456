"""The health check of the API and the workers: they answer, and with the secrets that are in force.

A container reads its secrets as it starts.  If they are others by now (a password was put into ``.env``, and ``docker
compose up`` has written it), the container ends in order, and Docker starts it again with those in force.  Some of the
versions of Compose recreate what depends on a changed service; with the others it would go on with the old secret.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import urllib.request
from pathlib import Path
from tempfile import gettempdir

NOTED = Path(gettempdir()) / "secrets.sha256"
"""Where ``deploy/entrypoint.sh`` notes down what the container started with, as ``sha256sum`` prints it."""

FIRST = 1
"""The process that ends the container."""


def started_with_others(noted: Path) -> bool:
    """Whether a secret is another than the one that the container started with."""
    lines = (line.split("  ", 1) for line in noted.read_text().splitlines())
    return any(hashlib.sha256(Path(file).read_bytes()).hexdigest() != digest for digest, file in lines)


def main(url: str, noted: Path = NOTED, first: int = FIRST) -> int:
    """The exit code of the health check."""
    if not noted.exists():  # it is ending
        return 1
    if started_with_others(noted):
        # told once: a worker that is told twice leaves its tasks
        noted.unlink()
        os.kill(first, signal.SIGTERM)
        return 1
    try:
        urllib.request.urlopen(url, timeout=3).close()  # noqa: S310 - the URL is docker-compose.yml's
    except OSError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
