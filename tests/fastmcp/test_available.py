"""Environments that lack FastMCP, or have half of it, two, or another one: each is one sentence, and the rest works."""

from __future__ import annotations

import ast
import inspect
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

import taskctx
from taskctx._upstream.fastmcp import NEEDS
from taskctx.fastmcp import _upstream
from taskctx.fastmcp._instrument import PATCHES
from tests.conftest import BACKEND
from tests.fastmcp.installed import LINE, theirs
from tests.helpers import run_well

pytestmark = pytest.mark.skipif(BACKEND != "memory", reason="has no backend: once is enough")

ROOT = Path(taskctx.__file__).parent.parent

PACKAGE = "fastmcp-slim" if LINE == 3 else "fastmcp-tasks"
OTHER = "fastmcp_tasks/context.py" if LINE == 3 else "fastmcp/server/tasks/context.py"


def said(*, before: str) -> str:
    """What importing taskctx.fastmcp raises, in a process of its own where taskctx works."""
    program = f"""
import sys
import taskctx
{before}
try:
    import taskctx.fastmcp
except ImportError as error:  # else opentelemetry-instrument would give up all of its instrumentations
    assert error.__cause__ is error.__context__ is None
    with taskctx.bind_caller(request_id="r"):
        assert taskctx.get_request_id() == "r"
    print(type(error).__name__, error, sep="|")
"""
    done = run_well([sys.executable, "-c", program], cwd=ROOT)
    kind, text = done.stdout.strip().split("|")
    assert kind == "UnsupportedVersion"
    assert "\n" not in text
    assert text.endswith("; until then nothing of FastMCP is instrumented, and all else of taskctx works")
    return text


def test_half_installed() -> None:
    """FastMCP without its tasks, or one before 3.4: what is installed, and what to install."""
    text = said(before=f"sys.modules[{theirs.__name__!r}] = None")
    assert text.startswith("taskctx needs the tasks of FastMCP 3.4 or later, but there are none (installed: ")
    assert f"{PACKAGE} {version(PACKAGE)}" in text
    assert "pip install 'taskctx[fastmcp]'" in text


def test_two_majors(tmp_path: Path) -> None:
    """Tasks of FastMCP 4 that a downgrade to 3.4 left behind, or the other way round."""
    module = tmp_path / OTHER
    module.parent.mkdir(parents=True)
    module.touch()
    (module.parent / "__init__.py").touch()
    if LINE == 3:
        before = f"sys.path.append({str(tmp_path)!r})"
    else:
        before = f"import fastmcp.server; fastmcp.server.__path__.append({str(tmp_path / 'fastmcp/server')!r})"
    text = said(before=before)
    assert "but those of FastMCP 3 and of FastMCP 4 are in one environment (installed: fastmcp-slim " in text
    assert "pip uninstall fastmcp-tasks" in text


@pytest.mark.parametrize(
    ("before", "name", "purpose"),
    [
        ("del context._remember_snapshot", "_remember_snapshot", "capture, save and restore a task's caller"),
        (
            "context.TaskContextSnapshot.save = lambda self, docket, key: None",
            "TaskContextSnapshot.save",
            "capture, save and restore a task's caller",
        ),
        (
            "context.TaskContextSnapshot.from_json = classmethod(lambda cls, raw: cls(**__import__('json').loads(raw)))",
            "TaskContextSnapshot",
            "carry more in it than FastMCP does",
        ),
    ],
    ids=["gone", "takes something else", "refuses our part"],
)
def test_a_fastmcp_that_is_another(before: str, name: str, purpose: str) -> None:
    """One that is too new, or too old: package, version, what is missing, what for, and what to install."""
    text = said(before=f"import {theirs.__name__} as context; {before}")
    assert text.startswith(
        f"{PACKAGE} {version(PACKAGE)} does not have {theirs.__name__}:{name}, as taskctx needs it to {purpose}. "
    )
    assert ": pip install --upgrade taskctx 'fastmcp[tasks]'; until then " in text


def test_all_that_is_imported_is_looked_for() -> None:
    """What is not in the table would be a bare ImportError."""
    known = {need.name for need in NEEDS[LINE]}
    for name in imported(_upstream) | imported(_upstream.installed):
        assert name in known or any(each.startswith(f"{name}.") for each in known), name


def imported(module: ModuleType) -> set[str]:
    """What a module has of FastMCP and the MCP SDK; of modules that it imports, what is said to be used of them."""
    return {
        f"{node.module}:{each.name}"
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(("fastmcp", "mcp"))
        for each in node.names
        if f"{node.module}.{each.name}" not in sys.modules
    }


def test_all_that_is_replaced_is_looked_for() -> None:
    """What is not in the table would be a KeyError of instrument()'s."""
    known = {need.name for need in NEEDS[LINE]}
    for owner, name, _ in PATCHES:
        place = f"{owner.__name__}:" if isinstance(owner, ModuleType) else f"{owner.__module__}:{owner.__name__}."
        assert f"{place}{name}" in known
