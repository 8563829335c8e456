"""The people's side of the tests of ``doctor``, ``inspect`` and ``top``: real commands, workers and submissions."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from docket import Docket

import taskctx
from taskctx.cli.processes import free_port
from taskctx.settings.keyring import generate_key
from tests.helpers import ADA, Caller, wait_until
from tests.processes.support import ROOT, Process, Start, scrape
from tests.secrets import MARKER

OPENING = {"hello", "client|setinfo", "exists", "xread"}
"""What Docket's connection begins with; it reads its strikes all the time."""

NO_DEPENDENCIES = "tests.cli.operations:no_dependencies"
no_dependencies: dict[str, Any] = {}
"""For a worker that knows nothing of taskctx: Docket's command line insists on some."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


async def command(*arguments: str, **environment: str) -> Ended:
    """``taskctx`` with these arguments, in a process of its own.  It shows no secret of a caller's."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", "from taskctx.cli import main; main()", *arguments],
        cwd=ROOT,
        env=os.environ | {"COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert MARKER not in done.stdout + done.stderr, "a secret leaked"
    assert "Traceback" not in done.stderr, done.stderr
    return Ended(done.returncode, done.stdout, done.stderr)


BAD = {"warning", "error"}


@dataclass(frozen=True)
class Diagnosis:
    """What the doctor said."""

    code: int
    findings: Sequence[dict[str, Any]]

    def found(self, check: str, severity: str) -> list[str]:
        """What was found by a check, as far as it is of this severity."""
        return [each["what"] for each in self.findings if (each["check"], each["severity"]) == (check, severity)]

    @property
    def bad(self) -> list[tuple[str, str, str]]:
        """Everything that is not well."""
        return [(each["severity"], each["check"], each["what"]) for each in self.findings if each["severity"] in BAD]


async def diagnose(docket: Docket, *arguments: str, **environment: str) -> Diagnosis:
    """``taskctx doctor`` on the docket's server."""
    ended = await command("doctor", "--json", "--url", docket.url, *arguments, **environment)
    assert ended.err == ""
    diagnosis = Diagnosis(ended.code, ended.json["findings"])
    assert all(each["why"] and each["what_to_do"] for each in diagnosis.findings if each["severity"] in BAD)
    assert ended.code == ended.json["exit_code"]
    return diagnosis


def key(key_id: str) -> str:
    """A key of a keyring."""
    return f"{key_id}:{generate_key()}"


@dataclass(frozen=True)
class Worker:
    """A worker process with a name and, unless it was denied one, a metrics endpoint."""

    name: str
    process: Process
    port: int | None = None

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"


async def start_named(
    start: Start, docket: Docket, name: str, *, metrics: bool = True, port: int | None = None,
    dependencies: str = "taskctx:worker_dependencies", **environment: str,
) -> Worker:  # fmt: skip
    """A worker process, once Docket knows that it is alive and its metrics are served."""
    port = port or (free_port() if metrics else None)
    line = [sys.executable, "-m", "docket", "worker", "--docket", docket.name, "--url", docket.url, "--name", name]
    line += ["--tasks", "tests.processes.tasks:collection", "--dependencies", dependencies]
    line += ["--metrics-port", str(port)] if port else []
    process = start(line, **environment)
    await wait_until(lambda: alive(docket, name), timeout=40)
    if port is not None and dependencies != NO_DEPENDENCIES:
        await wait_until(lambda: scrape(port))
    return Worker(name, process, port)


async def alive(docket: Docket, name: str) -> bool:
    return name in {worker.name for worker in await docket.workers()}


async def report() -> None:
    """Stands for the task of this name in ``tests.processes.tasks``, which the workers run."""


async def order(docket: Docket, count: int = 1, when: datetime | None = None, caller: Caller = ADA) -> list[str]:
    """Submit tasks; gives their Docket keys."""
    with caller.requesting():
        return [(await taskctx.add(docket, report, when=when)()).key for _ in range(count)]


async def until_ended(docket: Docket, task_keys: Sequence[str], state: str = "completed") -> None:
    """Wait until Docket's records say so of each."""

    async def ended() -> bool:
        async with docket.redis() as redis:
            states = [await redis.hget(docket.runs_key(each), "state") for each in task_keys]
        return all(found == state.encode() for found in states)

    await wait_until(ended)


@asynccontextmanager
async def watching(port: int) -> AsyncGenerator[set[str]]:
    """Collects the names of all commands that a server gets (``MONITOR``)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"MONITOR\r\n")
    await reader.readline()
    names: set[str] = set()

    async def collect() -> None:
        async for line in reader:
            name, *more = [word.decode().lower() for word in line.split(b'"')[1::2]]
            names.add(f"{name}|{more[0]}" if name in {"config", "client", "xinfo", "script"} else name)

    collecting = asyncio.create_task(collect())
    try:
        yield names
    finally:
        collecting.cancel()
        writer.close()
