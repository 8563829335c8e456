"""Running the real command, and finding every process that it started."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

MARK = "TEST_OF_THE_DEMO"
PATIENCE = 60.0


@dataclass(frozen=True)
class Demo:
    """A demo that runs, and the mark that its processes inherit."""

    process: subprocess.Popen[str]
    mark: str

    def wait_for_line(self, text: str) -> str:
        """The first line on stdout with this text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                return line
        raise AssertionError(f"the demo ended without saying {text!r}")

    def finish(self) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        out, err = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, err

    def processes(self) -> list[str]:
        """The command lines of all processes of this demo that are alive."""
        return [command for pid in _pids() if (command := _marked(pid, self.mark))]

    def all_gone(self) -> bool:
        return not self.processes()


@contextmanager
def demo(
    directory: Path, *arguments: str, without: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
) -> Generator[Demo]:
    """``taskctx demo`` with these arguments, in an environment in which some modules cannot be imported."""
    mark = uuid4().hex
    missing = "".join(f"sys.modules[{module!r}] = None; " for module in without)
    start = f"import sys; {missing}from taskctx.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", start, "demo", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {MARK: mark, "TMPDIR": str(directory), "COLUMNS": "200"} | dict(environment or {}),
    )
    try:
        yield Demo(process, mark)
    finally:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=PATIENCE)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)


def _pids() -> Iterator[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdigit())


def _marked(pid: Path, mark: str) -> str | None:
    try:
        if f"{MARK}={mark}".encode() not in (pid / "environ").read_bytes().split(b"\0"):
            return None
        return (pid / "cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return None
