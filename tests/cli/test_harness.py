"""The harness that starts processes, with real ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from taskctx.cli.processes import Process, ProcessError, Processes, free_port, listening
from tests.cli.support import wait_until
from tests.conftest import BACKEND

pytestmark = pytest.mark.skipif(BACKEND != "memory", reason="starts nothing that a backend is for: once is enough")

ECHO = "import sys\nfor line in sys.stdin: print('heard', line, end='', flush=True)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); signal.pause()"
UNTIL_THE_PARENT_ENDS = "from taskctx.cli.processes import end_with_parent as e; import signal; e(); signal.pause()"


@pytest.fixture
def processes(tmp_path: Path) -> Generator[Processes]:
    with Processes(tmp_path, secrets=("pass-word",)) as processes:
        yield processes


def python(processes: Processes, *arguments: str, name: str = "", talks: bool = False, **environment: str) -> Process:
    return processes.start([sys.executable, *arguments], environment, name=name, talks=talks)


async def test_ready_waits_for_a_condition(processes: Processes) -> None:
    """Here: that a server listens on the port that it was given."""
    port = free_port()
    server = python(processes, "-m", "http.server", str(port), "--bind", "127.0.0.1")
    await server.ready(lambda: listening(port))
    assert not server.ended
    processes.stop()
    assert server.popen.returncode == -signal.SIGTERM


async def test_one_that_ends_instead_is_an_error(processes: Processes) -> None:
    """The error has the exit code and the last output without secrets; a process that is not ready in time is an error too."""
    broken = python(
        processes, "-c", "import sys, os; sys.exit('no ' + os.environ['URL'])", name="shop", URL="pass-word"
    )
    with pytest.raises(ProcessError, match=r"^shop ended with exit code 1: no \[hidden\]$"):
        await broken.ready(lambda: False)
    slow = python(processes, "-c", DEAF, name="slow")
    await slow.ready(lambda: slow.output)
    with pytest.raises(ProcessError, match=r"^slow was not ready within 0 seconds: up$"):
        await slow.ready(lambda: False, timeout=0.1)
    slow.kill()


async def test_one_that_does_not_listen_is_killed(processes: Processes) -> None:
    """After its time to end by itself."""
    deaf = python(processes, "-c", DEAF)
    await deaf.ready(lambda: deaf.output)
    deaf.stop(grace=0.1)
    assert deaf.popen.returncode == -signal.SIGKILL


def test_orders_and_answers(processes: Processes) -> None:
    """Line by line, until there are no more."""
    echo = python(processes, "-c", ECHO, talks=True)
    echo.order("one")
    assert echo.answer() == "heard one"
    echo.end_orders()
    with pytest.raises(ProcessError, match="exit code 0: silent"):
        echo.answer()


def test_a_child_can_end_with_its_starter(tmp_path: Path) -> None:
    """The child ends even when its starter is killed."""
    starter = (
        "from pathlib import Path; import signal, sys; from taskctx.cli.processes import Processes;"
        "child = Processes(Path(sys.argv[1])).start([sys.executable, '-c', sys.argv[2]]);"
        "print(child.pid, flush=True); signal.pause()"
    )
    command = [sys.executable, "-c", starter, str(tmp_path), UNTIL_THE_PARENT_ENDS]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert runs(pid)
        parent.kill()
    wait_until(lambda: not runs(pid), "the child has ended")


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_no_process_is_given_a_port_of_anothers() -> None:
    """While that one lives, whether it listens or not."""
    ports = {free_port() for _ in range(50)}
    assert len(ports) == 50
    command = "from taskctx.cli.processes import _claim; import sys; print(any(map(_claim, map(int, sys.argv[1:]))))"
    said = subprocess.run([sys.executable, "-c", command, *map(str, ports)], capture_output=True, check=True)
    assert said.stdout.strip() == (b"False" if sys.platform == "linux" else b"True")


def test_a_process_shows_no_environment(processes: Processes) -> None:
    """The ``repr`` of a process and of its starter has no environment variable."""
    started: Process = python(processes, "-c", "", URL="pass-word")
    assert "pass-word" not in repr(started) + repr(processes)
