"""Refuses a clone that the containers cannot read, before anything is started on it.

What they mount of it has the clone's modes, and they run as users of their own: after ``umask 077`` its files are their
owner's alone.
"""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("deploy", "dashboards", "otel-collector")
"""What holds all that docker-compose.yml mounts of a clone."""


def unreadable(path: Path) -> Iterator[Path]:
    """Files and folders below that others than their owner and group may not read."""
    mode = path.stat().st_mode
    needed = stat.S_IROTH | stat.S_IXOTH if path.is_dir() else stat.S_IROTH
    if mode & needed != needed:
        yield path
    elif path.is_dir():
        for each in sorted(path.iterdir()):
            yield from unreadable(each)


def main(clone: Path) -> str | None:
    """What is wrong, and what to do about it; None if nothing is."""
    found = [path for folder in FOLDERS for path in unreadable(clone / folder)]
    if not found:
        return None
    return f"the containers cannot read {found[0].relative_to(clone)}: run chmod -R go+rX {' '.join(FOLDERS)}"


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
