"""Environments that lack FastMCP, or have half of it, or two: each is one sentence, and the rest of taskctx works."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import taskctx
from tests.conftest import BACKEND
from tests.fastmcp.installed import LINE

pytestmark = pytest.mark.skipif(BACKEND != "memory", reason="has no backend: once is enough")

ROOT = Path(taskctx.__file__).parent.parent

TASKS = "fastmcp.server.tasks.context" if LINE == 3 else "fastmcp_tasks"
OTHER = "fastmcp_tasks/context.py" if LINE == 3 else "fastmcp/server/tasks/context.py"


def said(directory: Path, *, before: str = "") -> tuple[str, str]:
    """The type and the text of what importing taskctx.fastmcp raises, in a process of its own where taskctx works."""
    program = f"""
import sys
import taskctx
{before}
try:
    import taskctx.fastmcp
except Exception as error:
    assert error.__cause__ is None and error.__suppress_context__ or error.__context__ is None
    with taskctx.bind_caller(request_id="r"):
        assert taskctx.get_request_id() == "r"
    print(type(error).__mro__[0].__name__, isinstance(error, ImportError), sep="|", end="|")
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    kind, is_import_error, text = done.stdout.strip().split("|")
    assert is_import_error == "True", "opentelemetry-instrument would give up all of its instrumentations"
    assert "\n" not in text
    assert text.startswith("taskctx.fastmcp needs FastMCP 3.4 or later with its tasks, but ")
    assert text.endswith("until then nothing of FastMCP is instrumented, and all else of taskctx works")
    return kind, text


def test_half_installed(tmp_path: Path) -> None:
    """FastMCP without its tasks, or one before 3.4: what is installed, and what to install."""
    kind, text = said(tmp_path, before=f"sys.modules[{TASKS!r}] = None")
    assert kind == "ModuleNotFoundError"
    assert "(installed: fastmcp-slim " in text
    assert "pip install 'taskctx[fastmcp]'" in text


def test_two_majors(tmp_path: Path) -> None:
    """Tasks of FastMCP 4 that a downgrade to 3.4 left behind, or the other way round."""
    module = tmp_path / OTHER
    module.parent.mkdir(parents=True)
    module.write_text("")
    if LINE == 3:
        (module.parent / "__init__.py").write_text("")
        before = f"sys.path.append({str(tmp_path)!r})"
    else:
        (module.parent / "__init__.py").write_text("")
        before = f"import fastmcp.server; fastmcp.server.__path__.append({str(tmp_path / 'fastmcp/server')!r})"
    kind, text = said(tmp_path, before=before)
    assert kind == "UnsupportedFastMCP"
    assert "FastMCP 3 and the tasks of FastMCP 4 are in one environment (installed: fastmcp-slim " in text
    assert "pip uninstall fastmcp-tasks" in text


def test_a_private_name_is_gone(tmp_path: Path) -> None:
    """A FastMCP that is too new, or too old: the name is in the sentence."""
    where = "fastmcp.server.tasks" if LINE == 3 else "fastmcp_tasks"
    before = f"from {where} import context; del context._remember_snapshot"
    kind, text = said(tmp_path, before=before)
    assert kind == "UnsupportedFastMCP"
    assert "cannot import name '_remember_snapshot'" in text
