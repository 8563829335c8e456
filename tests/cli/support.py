"""Running the real command, and finding every process that it started."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import uuid4

from taskctx.cli.processes import Process, Processes
from tests.helpers import PATIENCE

MARK = "TEST_OF_THE_DEMO"


@dataclass(frozen=True)
class Demo:
    """A demo that runs, and the mark that its processes inherit."""

    process: Process
    mark: str

    def wait_for_line(self, text: str) -> str:
        """The first line on stdout with this text."""
        while text not in (line := self.process.answer()):
            pass
        return line

    def finish(self) -> tuple[int, str, str]:
        """Exit code, stdout and stderr."""
        out, _ = self.process.popen.communicate(timeout=PATIENCE)
        return self.process.popen.returncode, out.decode(), self.process.output

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
    given = {MARK: mark, "TMPDIR": str(directory), "COLUMNS": "200"} | dict(environment or {})
    with TemporaryDirectory() as logs, Processes(Path(logs)) as processes:
        command = [sys.executable, "-c", start, "demo", *arguments]
        yield Demo(processes.start(command, given, name="demo", talks=True), mark)


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
