"""The example service does what its README says: real HTTP, a real worker process, a real Valkey server."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from examples.fastapi_service import auth
from taskctx.cli.processes import free_port
from tests.conftest import BACKEND
from tests.examples.otlp import Received, receiving
from tests.examples.service import SIGNING_KEY, Service, fetch, order, ready, running_service
from tests.helpers import wait_until
from tests.processes.support import Process, scrape, value
from tests.secrets import MARKER

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="starts a server and processes of its own")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that tests share; each comes with callers of its own."""
    with running_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
async def service(shared: Service) -> Service:
    await ready(shared)
    return shared


def lines(process: Process) -> list[dict[str, Any]]:
    """A process's log, line by line; the last may be under way."""
    return [json.loads(line) for line in process.output.rpartition("\n")[0].splitlines()]


async def ended(process: Process) -> int:
    await wait_until(lambda: process.ended, 90)
    return process.popen.returncode


# Reports


@pytest.mark.parametrize("kind", ["summary", "digest", "account", "market"])
async def test_a_report_is_made_as_the_caller_who_ordered_it(service: Service, kind: str) -> None:
    """Scope, request id and headers are the request's, whichever way the task took to its worker."""
    headers = {"x-request-id": f"request-{kind}", "x-tenant": "acme"}
    async with service.client("ada", **headers) as ada:
        place = await order(ada, kind)
    async with service.client("ada") as later:
        report = await fetch(later, place)

    assert (report["for"], report["request"], report["tenant"]) == ("reports-web|ada", f"request-{kind}", "acme")


async def test_a_task_asks_another_service_as_its_caller(service: Service) -> None:
    """The account service verified the caller's own token, and saw the request it came from."""
    async with service.client("grace", **{"x-request-id": "request-1"}) as grace:
        report = await fetch(grace, await order(grace, "account"))

    assert report["account"] == "grace (request request-1)"


async def test_the_second_attempt_knows_its_caller_too(service: Service) -> None:
    """The market report fails at first, and is retried."""
    async with service.client("alan", **{"x-request-id": "request-2"}) as alan:
        report = await fetch(alan, await order(alan, "market"))

    assert (report["prices"], report["request"]) == ("1, 2, 3 (attempt 2)", "request-2")


async def test_a_report_can_be_ordered_ahead(service: Service) -> None:
    """It is not there before it is due."""
    async with service.client("edsger") as edsger:
        place = await order(edsger, "summary", due_in=3600)
        assert (await edsger.get(place)).json()["status"] == "queued"
        early = await edsger.get(f"{place}/content")

    assert (early.status_code, early.json()) == (409, {"detail": "the report is queued"})


async def test_a_caller_does_not_see_the_reports_of_others(service: Service) -> None:
    """Another caller's report is answered with 404, as if it did not exist."""
    async with service.client("barbara") as barbara, service.client("mallory") as mallory:
        place = await order(barbara, "summary")
        await fetch(barbara, place)
        answers = [await mallory.get(place), await mallory.get(f"{place}/content")]

    assert [answer.status_code for answer in answers] == [404, 404]


@pytest.mark.parametrize("body", [{}, {"kind": "bribe"}, {"kind": "summary", "due_in": 10**6}])
async def test_an_order_that_makes_no_sense_is_refused(service: Service, body: dict[str, Any]) -> None:
    """422, as FastAPI has it."""
    async with service.client("ada") as ada:
        assert (await ada.post("/reports", json=body)).status_code == 422


# Who is who


def _resigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims)]
    signature = hmac.new(SIGNING_KEY.encode(), ".".join(parts).encode(), hashlib.sha256).digest()
    return ".".join([*parts, base64.urlsafe_b64encode(signature).decode().rstrip("=")])


_HEADER = {"alg": "HS256", "typ": "JWT"}
_CLAIMS = {"aud": "reports", "client_id": "reports-web", "sub": "ada", "exp": int(time.time()) + 3600}

NO_TOKENS: dict[str, Callable[[], str]] = {
    "nothing": lambda: "",
    "no token": lambda: "token-of-ada",
    "another key's": lambda: auth.issue("0" * 64, "ada"),
    "expired": lambda: auth.issue(SIGNING_KEY, "ada", lifetime=-1),
    "cut off": lambda: auth.issue(SIGNING_KEY, "ada").rpartition(".")[0] + ".",
    "unsigned": lambda: _resigned({"alg": "none"}, _CLAIMS),
    "for another service": lambda: _resigned(_HEADER, _CLAIMS | {"aud": "invoices"}),
    "without a client": lambda: _resigned(_HEADER, {"aud": "reports", "exp": _CLAIMS["exp"]}),
    "no claims": lambda: _resigned(_HEADER, []),  # type: ignore[arg-type]
    "not ASCII": lambda: "é.é.é",
}


def test_a_token_is_whose_it_says() -> None:
    """Client and subject, and when it ends."""
    token = auth.verify(SIGNING_KEY, auth.issue(SIGNING_KEY, "ada", client_id="app", lifetime=60))

    assert token is not None
    assert (token.client_id, (token.claims or {})["sub"]) == ("app", "ada")
    assert token.expires_at is not None
    assert 0 < token.expires_at - time.time() <= 60
    assert auth.verify(SIGNING_KEY, _resigned(_HEADER, _CLAIMS)) is not None


@pytest.mark.parametrize("what", NO_TOKENS)
def test_what_is_no_token_of_ours_is_nobody(what: str) -> None:
    """Nothing is believed before the signature, and only tokens for this service after it."""
    assert auth.verify(SIGNING_KEY, NO_TOKENS[what]()) is None


async def test_an_anonymous_client_gets_nothing(service: Service) -> None:
    """Every endpoint with a caller's data answers 401 without a valid token."""
    async with service.client() as nobody:
        answers = [
            await nobody.post("/reports", json={"kind": "summary"}),
            await nobody.get("/reports/1"),
            await nobody.get("/reports/1/content"),
            await nobody.get("/internal/account"),
            await nobody.get("/reports/1", headers={"authorization": f"Bearer {auth.issue('0' * 64, 'ada')}"}),
        ]

    assert [answer.status_code for answer in answers] == [401] * 5
    assert answers[0].headers["www-authenticate"] == "Bearer"


# What is seen of it


async def test_log_lines_say_which_request_and_which_task(service: Service) -> None:
    """One JSON object a line, in the API and in the worker; the same ids on both sides."""
    async with service.client("katherine", **{"x-request-id": "request-3"}) as katherine:
        place = await order(katherine, "summary")
        await fetch(katherine, place)

    def line_of(process: Process, message: str) -> dict[str, Any] | None:
        found = [each for each in lines(process) if (each["message"], each["request_id"]) == (message, "request-3")]
        return found[0] if found else None

    await wait_until(lambda: line_of(service.worker, "report is ready"))
    made = line_of(service.worker, "report is ready")
    assert made is not None
    assert made["task_id"] == place.removeprefix("/reports/")
    await wait_until(lambda: line_of(service.api, "report is ordered"))
    # --no-access-log
    assert {each["name"] for each in lines(service.api)} <= {"uvicorn.error", "examples.fastapi_service.app"}


async def test_no_token_is_in_any_log_line(service: Service) -> None:
    """No log line has a token or a secret of the caller."""
    async with service.client("annie") as annie:
        await fetch(annie, await order(annie, "account"))

    for process in (service.api, service.worker):
        assert "eyJ" not in process.output
        assert MARKER not in process.output


async def test_metrics_of_both_sides(service: Service) -> None:
    """The API on its own port, the worker on the one it was given."""
    async with service.client("hedy") as hedy:
        await fetch(hedy, await order(hedy, "summary"))

    api, worker = scrape(int(service.url.rpartition(":")[2])), scrape(service.metrics_port)
    assert (value(api, "taskctx_captures_total", docket_name="reports", outcome="ok") or 0) > 0
    assert (value(worker, "taskctx_restores_total", docket_name="reports", outcome="ok") or 0) > 0
    assert value(worker, "taskctx_task_restore_failures_total", docket_task="make_digest") == 0


async def test_a_trace_leads_from_the_request_to_the_task_and_on(tmp_path: Path) -> None:
    """The worker's restore is linked to the request's trace; what the task asks is in the task's trace."""
    with (
        receiving() as receiver,
        running_service(
            tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint, OTEL_BSP_SCHEDULE_DELAY="100"
        ) as service,
    ):
        await ready(service)
        async with service.client("ada") as ada:
            await fetch(ada, await order(ada, "account"))
        # spans come in batches, from two processes
        await wait_until(lambda: receiver.named("POST /reports"))
        (request,) = receiver.named("POST /reports")

        def restored() -> list[Received]:
            return [each for each in receiver.named("taskctx.restore") if request.trace_id in each.links]

        def saved() -> list[Received]:
            return [each for each in receiver.named("taskctx.save") if each.trace_id == request.trace_id]

        await wait_until(lambda: restored() and saved() and receiver.named("GET /internal/account"))
        (restore,), (save,), (asked,) = restored(), saved(), receiver.named("GET /internal/account")

    assert (save.service, save.attributes["docket.task"]) == ("reports-api", "make_account")
    assert (restore.service, restore.attributes["taskctx.outcome"]) == ("reports-worker", "ok")
    assert (asked.service, asked.trace_id) == ("reports-api", restore.trace_id)
    assert not [each for each in receiver.spans if "eyJ" in str(each.span) or MARKER in str(each.span)]
    assert not receiver.named("GET /health")


# When something is gone


@contextmanager
def nobody_answers(how: str) -> Generator[int]:
    """A port where nothing listens, or where connections are accepted and never answered."""
    if how == "down":
        yield free_port()
        return
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield silent.getsockname()[1]


@pytest.mark.parametrize("how", ["down", "hanging"])
async def test_without_a_collector_everything_goes_on(tmp_path: Path, how: str) -> None:
    """Requests and tasks do not wait for it, one line a process says so, and the end comes in time."""
    with (
        nobody_answers(how) as port,
        running_service(
            tmp_path, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}", OTEL_BSP_SCHEDULE_DELAY="50"
        ) as service,
    ):
        processes = (service.api, service.worker)
        await ready(service)
        async with service.client("ada") as ada:
            for _ in range(20):
                await fetch(ada, await order(ada, "summary"))

            def said(process: Process) -> list[str]:
                return [each["message"] for each in lines(process) if "export" in each["message"]]

            await wait_until(lambda: all(said(process) for process in processes), 40)
            await fetch(ada, await order(ada, "summary"))
            assert [len(said(process)) for process in processes] == [1, 1]
        for process in processes:
            process.popen.terminate()
        for process in processes:
            process.popen.wait(10)  # docker stop kills after so long


async def test_without_redis_orders_are_refused_and_nothing_is_promised(tmp_path: Path) -> None:
    """503 with a time to come back, from the API and its health check."""
    with running_service(tmp_path, TASKCTX_BACKEND_TIMEOUT="1") as service:
        await ready(service)
        async with service.client("ada") as ada:
            place = await order(ada, "digest", due_in=3600)
            service.valkey.stop()
            answers = [
                await ada.post("/reports", json={"kind": "summary"}),
                await ada.get(place),
                await ada.get("/health"),
            ]

    assert [answer.status_code for answer in answers] == [503] * 3
    assert answers[0].headers["retry-after"] == "5"


async def test_old_reports_are_removed_by_the_service_itself(tmp_path: Path) -> None:
    """The perpetual clean-up has the service's own identity, on every run."""
    with running_service(tmp_path, REPORTS_KEEP="1", REPORTS_CLEAN_UP_EVERY="0.2") as service:
        await ready(service)
        async with service.client("ada") as ada:
            place = await order(ada, "summary")

            async def is_gone() -> bool:
                return (await ada.get(place)).status_code == 404

            await wait_until(is_gone, 40)

        def runs() -> list[str]:
            return [each["message"] for each in lines(service.worker) if "removed" in each["message"]]

        await wait_until(lambda: len(runs()) > 3)
        assert {each.partition(" removed ")[0] for each in runs()} == {"reports-service"}


# The tools beside it


async def test_the_load_generator_finds_every_report_its_callers_own(service: Service) -> None:
    """Its count is kept, and it ends well."""
    load = service.run("load", "--url", service.url, "--rate", "50", "--count", "40", "--callers", "4")

    assert await ended(load) == 0, load.output
    assert load.output == "ready: 40\n"


@pytest.mark.parametrize("arguments", [("--rate", "1000000"), ("--count", "0"), ("--callers", "-1")])
async def test_the_load_generator_is_bounded(service: Service, arguments: tuple[str, str]) -> None:
    """It refuses to be a flood."""
    load = service.run("load", *arguments)

    assert await ended(load) == 2
    assert "must be between" in load.output


async def test_the_fault_switch_loses_contexts_and_stops_by_itself(tmp_path: Path) -> None:
    """Tasks that wait lose their caller, the metric says why, and what comes after it is well."""
    with running_service(tmp_path) as service:
        await ready(service)
        async with service.client("ada", **{"x-tenant": "acme"}) as ada:
            lost = [await order(ada, "summary", due_in=8), await order(ada, "digest", due_in=8)]
            fault = service.run("fault", "--seconds", "1")
            assert await ended(fault) == 0, fault.output
            reports = [await fetch(ada, place) for place in lost]
            after = await fetch(ada, await order(ada, "summary"))
        worker = scrape(service.metrics_port)

    assert fault.output == "removed 2 contexts\n"
    assert [(each["for"], each["request"], each["tenant"]) for each in reports] == [
        ("reports-web|ada", "None", "None")
    ] * 2
    assert after["tenant"] == "acme"
    assert value(worker, "taskctx_restore_failures_total", docket_name="reports", reason="missing") == 2


async def test_several_api_processes_are_counted_together(tmp_path: Path) -> None:
    """uvicorn --workers with prometheus_client's multiprocess mode: whichever answers, it is the sum."""
    counted = tmp_path / "metrics"
    counted.mkdir()
    environment = {"PROMETHEUS_MULTIPROC_DIR": str(counted)}
    with running_service(tmp_path, "--workers", "2", **environment) as service:
        await ready(service)
        async with service.client("ada") as ada:
            for _ in range(10):
                await order(ada, "summary", due_in=3600)
        port = int(service.url.rpartition(":")[2])
        await wait_until(lambda: value(scrape(port), "taskctx_saves_total", outcome="ok") == 11)
