"""``taskctx top`` on real workers' metrics endpoints."""

from __future__ import annotations

import io
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from docket import Docket
from prometheus_client import CollectorRegistry
from rich.console import Console

import taskctx
from taskctx.cli.operating.fleet import PROCESS_STARTED, Process, Sample, read_endpoints
from taskctx.cli.operating.histogram import quantile
from taskctx.cli.processes import free_port
from taskctx.cli.top.frame import frame
from taskctx.cli.top.rates import activities, altogether
from taskctx.cli.top.source import Comparison, Endpoints
from taskctx.telemetry import names
from tests.cli.operations import command, key, order, start_named, until_ended
from tests.conftest import BACKEND
from tests.processes.support import ROOT, Start
from tests.secrets import secret

on_a_server = pytest.mark.skipif(BACKEND != "valkey", reason="processes need a server to meet at")
# a program that is started in the background may find SIGINT ignored, and so would what the tests start
MAIN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from taskctx.cli import main; main()"
HOUR = 3600.0
START = [sys.executable, "-c", MAIN, "top"]


def columns(line: str) -> list[str]:
    return [word.strip() for word in line.split("  ") if word.strip()]


def row(out: str, instance: str) -> list[str]:
    """What a frame says of a process, on its line and below it."""
    lines = out.splitlines()
    (number,) = [number for number, line in enumerate(lines) if line.startswith(f"{instance} ")]
    below = [line for line in lines[number + 1 : number + 2] if line.startswith("  ")]
    return [*columns(lines[number])[1:], *below]


@on_a_server
async def test_one_frame(docket: Docket, start: Start, registry: CollectorRegistry) -> None:
    """A row for each process: restores, ages, headroom, failures by reason, or that it is down; and one for all."""
    ours = key("ours")
    taskctx.configure(encryption_keys=ours, registry=registry)
    well = await start_named(start, docket, "well", TASKCTX_ENCRYPTION_KEYS=ours)
    await until_ended(docket, await order(docket, 3))
    well.process.stop()
    well = await start_named(start, docket, "well", TASKCTX_ENCRYPTION_KEYS=ours)
    await until_ended(docket, await order(docket, 4))
    endpoints = [well.endpoint, nobody := f"127.0.0.1:{free_port()}"]
    ended = await command("top", "--once", *(word for each in endpoints for word in ("--metrics", each)))

    assert ended.code == 0
    assert ended.out.startswith("taskctx top  2 processes, 1 down, since each process started")
    restores, rate, *ages, left = row(ended.out, well.endpoint)
    assert (restores, rate, left) == ("4", "-", "91%")
    assert all(age.endswith(("ms", "s")) for age in ages)
    assert row(ended.out, nobody)[-1].startswith("down: nothing is served at")
    assert row(ended.out, "all")[0] == "4"


@on_a_server
async def test_failures_by_reason(docket: Docket, start: Start, registry: CollectorRegistry) -> None:
    """The row of a worker with another key names the reason and the count."""
    taskctx.configure(encryption_keys=key("ours"), registry=registry)
    ill = await start_named(start, docket, "ill", TASKCTX_ENCRYPTION_KEYS=key("theirs"))
    await until_ended(docket, await order(docket, 2), state="failed")
    ended = await command("top", "--once", "--metrics", ill.endpoint)
    assert row(ended.out, ill.endpoint)[-1] == "2 decrypt_unknown_key"


@contextmanager
def watching(endpoint: str, terminal: str | None) -> Generator[tuple[subprocess.Popen[bytes], int]]:
    """``taskctx top`` while it runs, and where to read what it shows."""
    read, write = pty.openpty() if terminal else os.pipe()
    line = [*START, "--metrics", endpoint, "--interval", "0.2"]
    environment = os.environ | {"COLUMNS": "200", "LINES": "50", "TERM": terminal or "xterm"}
    process = subprocess.Popen(line, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stdout=write)
    os.close(write)
    try:
        yield process, read
    finally:
        process.kill()
        process.wait()
        os.close(read)


@pytest.mark.parametrize("terminal", ["xterm", "dumb", None])
def test_frame_after_frame_until_somebody_ends_it(terminal: str | None) -> None:
    """On a terminal, on one that cannot replace what it shows, and elsewhere; Ctrl-C is a good end."""
    with watching(f"127.0.0.1:{free_port()}", terminal) as (process, read):
        shown = b""
        while shown.count(b"taskctx top") < 3:
            shown += os.read(read, 65_536)
        assert b"in the last" in shown
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


async def test_it_has_to_be_told_where_to_look() -> None:
    """At endpoints or at a Prometheus, and not at both."""
    neither = await command("top", "--once")
    assert neither.code == 2
    assert neither.err.startswith("what to look at must be named, in one of two ways.")
    both = await command("top", "--once", "--metrics", "127.0.0.1:1", "--prometheus", "http://127.0.0.1:1")
    assert both.code == 2
    assert both.err.startswith("--metrics and --prometheus exclude each other.")


async def test_everything_is_down() -> None:
    """Looking once has seen nothing then, and its exit code says so."""
    ended = await command("top", "--once", "--metrics", f"127.0.0.1:{free_port()}")
    assert ended.code == 1
    assert "1 process, 1 down" in ended.out


@pytest.mark.parametrize("once", [["top", "--once"], ["doctor"]])
async def test_an_empty_address(once: list[str]) -> None:
    """As a variable that is not set leaves it: the option is named."""
    ended = await command(*once, "--metrics", "")
    assert ended.code == 2
    assert ended.err.startswith("--metrics is empty.\n")


def words(found: Comparison, width: int) -> list[str]:
    """All that a frame says on a terminal so wide and 20 lines high, which it does not exceed."""
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(frame(found))
    shown = console.export_text()
    assert all(len(line) <= width for line in shown.splitlines())
    assert len(shown.splitlines()) <= 20
    return sorted(shown.split())


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("name", ["reports-worker-{}.example.org:9100", "workers/worker-{}", "w{}:9100"])
def test_a_narrow_terminal(name: str, width: int) -> None:
    """No word is cut, and none is lost: not a heading, a process's name, a reason, nor why one is down."""
    failing = replace(process(1_000, 2_000, 300_000, failed=1_234), instance=name.format(1))
    refused = f"nothing is served at {name.format(3)} (ConnectionRefusedError)"
    down = replace(failing, instance=name.format(3), samples=(), down=refused)
    found = Comparison([failing, replace(failing, instance=name.format(2)), down])
    assert words(found, width) == words(found, 400)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "ftp://host", "http://[bad", "http://host:99999999"])
async def test_no_prometheus_there(address: str) -> None:
    """Is one sentence and a hint."""
    ended = await command("top", "--once", "--prometheus", address)
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 2


class _Answering(BaseHTTPRequestHandler):
    """Redirects where the server has a place to redirect to, and else notes down who is asking."""

    server: _Web  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self.server.asking.append(self.headers.get("Authorization"))
        self.send_response(302 if self.server.elsewhere else 200)
        if self.server.elsewhere:
            self.send_header("Location", self.server.elsewhere)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """No access log."""


class _Web(ThreadingHTTPServer):
    def __init__(self, elsewhere: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.elsewhere = elsewhere
        self.asking: list[str | None] = []


@contextmanager
def web(elsewhere: str = "") -> Generator[_Web]:
    """A web server, until the block ends."""
    with _Web(elsewhere) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


async def test_a_password_goes_to_its_own_host_only() -> None:
    """A password in a URL is not sent to the host of a redirection."""
    with web() as other, web(f"http://127.0.0.1:{other.server_port}/metrics") as asked:
        given = f"http://me:{secret('password')}@127.0.0.1:{asked.server_port}"
        await command("top", "--once", "--metrics", given)
    assert [who is None for who in asked.asking] == [False]
    assert other.asking == [None]


class _Proxied(BaseHTTPRequestHandler):
    """Two processes behind one address: how often each restored by now is in the server's ``restores``."""

    server: _Proxy  # pyright: ignore[reportIncompatibleVariableOverride]

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        restores = self.server.restores[self.path]
        self.wfile.write(f'taskctx_build_info 1\ntaskctx_restores_total{{outcome="ok"}} {restores}\n'.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the standard library's name
        """No access log."""


class _Proxy(ThreadingHTTPServer):
    restores: Mapping[str, int]


async def test_processes_behind_one_proxy() -> None:
    """Only their paths differ, as with ``kubectl proxy``: each has a name of its own, and is compared with itself."""
    with _Proxy(("127.0.0.1", 0), _Proxied) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        address = f"127.0.0.1:{server.server_port}"
        source = Endpoints([f"http://{address}/{name}/metrics" for name in ("busy", "idle")])
        try:
            server.restores = {"/busy/metrics": 100, "/idle/metrics": 7}
            await source.compare()
            server.restores = {"/busy/metrics": 150, "/idle/metrics": 8}
            found = activities(await source.compare())
        finally:
            server.shutdown()
            thread.join()
    assert [(each.instance, each.restores) for each in found] == [(f"{address}/busy", 50), (f"{address}/idle", 1)]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("worker-1:9100", "worker-1:9100"),
        ("http://worker-1:9100/", "worker-1:9100"),
        ("http://worker-1:9100/metrics", "worker-1:9100"),
        (f"http://me:a/b#c@{secret('password')}@worker-1:9100/worker/metrics#there", "worker-1:9100/worker"),
        (f"http://worker-1:9100/worker?token={secret('query')}", "worker-1:9100/worker"),
    ],
)
async def test_a_process_goes_by_its_address(given: str, name: str) -> None:
    """Without user, password and query, and without what nearly all addresses have."""
    (process,) = await read_endpoints([given])
    assert process.instance == name


def process(*counts: float, failed: float = 0) -> Process:
    """Restores that were ok, and their ages: how many up to 1 second, up to 5, and altogether."""
    ages = dict(zip(("1.0", "5.0", "+Inf"), counts, strict=True))
    info = Sample(names.BUILD_INFO.name, {"version": "1"}, 1)
    restores = Sample(names.RESTORES.name, {"outcome": "ok"}, counts[-1])
    failures = Sample(names.RESTORE_FAILURES.name, {"reason": "missing"}, failed)
    buckets = (Sample(f"{names.SNAPSHOT_AGE.name}_bucket", {"le": bound}, count) for bound, count in ages.items())
    return Process("a", (info, restores, failures, *buckets))


def test_what_happened_between_two_readings() -> None:
    """Counters of before are taken off; of a process that began anew, nothing is."""
    (change,) = activities(Comparison([process(10, 20, 20, failed=3)], {"a": process(10, 10, 10, failed=1)}, 10.0))
    assert (change.restores, change.failures) == (10, {"missing": 2})
    assert change.age(0.5) == 3.0
    (anew,) = activities(Comparison([process(1, 2, 2)], {"a": process(10, 10, 10)}, 10.0))
    assert (anew.restores, anew.failures) == (2, {})


@pytest.mark.parametrize(("lived", "restores"), [(5.0, 20), (HOUR, 0)])
def test_a_process_that_was_not_read_before(lived: float, restores: float) -> None:
    """Its counts are of the compared time where it started in it; else they are of its whole life, and do not count."""
    started = Sample(PROCESS_STARTED, {}, time.time() - lived)
    seen = replace(process(10, 20, 20), samples=(*process(10, 20, 20).samples, started))
    for before in ({}, {"a": Process("a")}):
        (change,) = activities(Comparison([seen], before, 60.0))
        assert change.restores == restores


def test_all_processes_as_one() -> None:
    """Sums, and quantiles of all of them."""
    found = activities(Comparison([process(1, 1, 1), process(0, 3, 3, failed=1)]))
    total = altogether(found)
    assert (total.restores, total.failures, total.ages) == (4, {"missing": 1}, {1.0: 1, 5.0: 4, float("inf"): 4})


def test_quantiles() -> None:
    """As PromQL has them: within a bucket in proportion, beyond the last bound that bound, of nothing none."""
    infinity = float("inf")
    assert quantile(0.5, {1.0: 10, 2.0: 20, infinity: 20}) == 1.0
    assert quantile(0.75, {1.0: 10, 2.0: 20, infinity: 20}) == 1.5
    assert quantile(0.99, {1.0: 0, infinity: 5}) == 1.0
    assert quantile(0.0, {1.0: 0, infinity: 5}) == 1.0
    assert quantile(0.5, {1.0: 0, infinity: 0}) is quantile(0.5, {}) is None
