"""The container engine that the check runs on: the machine's, or one of the check's own."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

OWN = Path(__file__).with_name("engine")
SEEN = "TASKCTX_COMPOSE_FOLDER"
"""Names the folder whose files containers may mount, for the tests."""

NONE = (
    "no container engine answers: start Docker (`docker info` shows it), or let the check start one of its own, as root on "
    "Debian: make compose-check ENGINE=own"
)


class NoEngineError(Exception):
    """Says what to do."""


@dataclass(frozen=True)
class Engine:
    """Commands of it.

    Attributes:
        own: whether it is the check's own, which nobody else uses, and which reaches no registry.
    """

    own: bool

    @classmethod
    def found(cls) -> Engine:
        """The one that ``ENGINE=own`` asks for, or the machine's.

        Raises:
            NoEngineError: there is none.
        """
        if os.environ.get("ENGINE") == "own":
            return cls(own=True)
        if not shutil.which("docker") or _run(["docker", "info"], seconds=60).returncode:
            raise NoEngineError(NONE)
        return cls(own=False)

    def start(self, folder: Path) -> None:
        """Wait until it answers; containers may mount what is in the folder."""
        if self.own and _run([str(OWN), "start", str(folder)], seconds=900, shown=True).returncode:
            raise NoEngineError("ENGINE=own needs root, apt-get and perl on a Debian machine; what failed is above")

    def stop(self) -> None:
        if self.own:
            _run([str(OWN), "stop"], seconds=120)

    def kill(self) -> None:
        """As a power cut does."""
        assert self.own
        _run([str(OWN), "kill"], seconds=120)

    def command(self, *words: str) -> list[str]:
        """A command line that is run beside the engine."""
        return [str(OWN), "run", *words] if self.own else list(words)

    def on_its_network(self, *words: str) -> list[str]:
        """A command line of this machine that finds published ports on 127.0.0.1."""
        return [str(OWN), "net", *words] if self.own else list(words)

    def docker(self, *arguments: str, seconds: float = 300) -> subprocess.CompletedProcess[str]:
        return _run(self.command("docker", *arguments), seconds=seconds)


def _run(command: list[str], *, seconds: float, shown: bool = False) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=not shown, text=True, timeout=seconds, check=False)
