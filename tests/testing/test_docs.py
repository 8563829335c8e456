"""docs/testing.md and docs/logging.md: every block of code in them runs as printed."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

import taskctx.testing
from taskctx.testing._failures import DAMAGES
from tests.helpers import wait_until
from tests.processes.support import Starter

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
TESTING = (ROOT / "docs/testing.md").read_text()
LOGGING = (ROOT / "docs/logging.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def write(text: str, directory: Path) -> set[str]:
    """The files that a page has one write, by the name in their first line."""
    named = {
        code.splitlines()[0].removeprefix("# "): code
        for language in ("python", "toml")
        for code in blocks(text, language)
    }
    assert all(re.fullmatch(r"\w+\.(py|toml)", name) for name in named)
    for name, code in named.items():
        (directory / name).write_text(code)
    return set(named)


def test_the_tests_of_the_guide_pass(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them, in a run of pytest with the settings that it prints, beside the application of the quickstart."""
    write((ROOT / "docs/quickstart/fastapi.md").read_text(), pytester.path)
    (place,) = re.findall(r"DOCKET_URL=(memory://\S+?)`", TESTING)
    monkeypatch.setenv("DOCKET_URL", place)
    names = write(TESTING, pytester.path)
    tests = sum(len(re.findall(r"def test_", code)) for code in blocks(TESTING, "python"))
    assert "pyproject.toml" in names
    assert tests >= 10

    ran = pytester.runpytest_subprocess("-W", "error::DeprecationWarning:taskctx")
    ran.assert_outcomes(passed=tests)


def test_the_guide_names_what_there_is() -> None:
    """Every failure that can be simulated, and every public name."""
    table = TESTING.partition("| `failure=Reason.…` |")[2].partition("\n\n")[0]
    named = set(re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE))
    assert named == {reason.name for reason in DAMAGES}
    left_out = {"Attempt", "FakeCaller", "RecordedMetrics", "SeenContext", "TaskRun"}
    assert [name for name in taskctx.testing.__all__ if name not in TESTING] == sorted(left_out)


RUN = """
import asyncio, logging
import log, events, reports
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from docket import Docket, Worker
import taskctx
from tests.helpers import end_on_memory

trace.set_tracer_provider(TracerProvider())
silenced = [name for name, logger in logging.root.manager.loggerDict.items() if getattr(logger, "disabled", False)]
assert silenced == [], silenced
logging.getLogger("docket").setLevel(logging.ERROR)

async def main():
    async with Docket(name="reports", url="memory://logging") as docket:
        with taskctx.bind_caller(request_id="r-1"):
            await taskctx.add(docket, reports.make_report, key="monthly")(42)
        async with Worker(docket, dependencies=taskctx.worker_dependencies) as worker:
            await worker.run_until_finished()

asyncio.run(main())
end_on_memory()
"""


async def test_lines_of_a_task_are_as_printed(tmp_path: Path) -> None:
    """In a process of its own, but for the trace's id, which is the same in both."""
    assert write(LOGGING, tmp_path) == {"log.py", "events.py", "reports.py"}
    (tmp_path / "main.py").write_text(RUN)
    with Starter(tmp_path) as start:
        process = start([sys.executable, "main.py"], cwd=tmp_path)
        await wait_until(lambda: process.ended, timeout=60)
        output = process.output
    (printed,) = blocks(LOGGING, "text")
    (trace_id,) = set(re.findall(r"\b[0-9a-f]{32}\b", output))
    (shown,) = set(re.findall(r"\b[0-9a-f]{32}\b", printed))
    assert sorted(output.replace(trace_id, shown).splitlines()) == sorted(printed.splitlines())


@pytest.mark.parametrize("page", ["docs/testing.md", "docs/logging.md"])
def test_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)\)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []
