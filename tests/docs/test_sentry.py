"""The module on the page about Sentry does what the page says, with Sentry as it comes."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import BACKEND
from tests.docs.pages import ROOT, write_files
from tests.helpers import run_well
from tests.secrets import MARKER

pytestmark = pytest.mark.skipif(
    BACKEND != "memory", reason="chooses its backend: runs with TASKCTX_TEST_BACKEND=memory"
)


def sent(way: str, folder: Path) -> tuple[list[Any], list[Any]]:
    """Errors and transactions; the program says which ways there are."""
    write_files("how-to/sentry.md", folder)
    program = [sys.executable, "-m", "tests.docs.sentry_program", way]
    done = run_well(program, env=os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"})
    assert MARKER not in done.stdout
    events = json.loads(done.stdout.splitlines()[-1])
    return [each for each in events if "exception" in each], [each for each in events if "exception" not in each]


def set_by(event: Any) -> str | None:
    """Which task set the tag that is on an event."""
    tags: dict[str, str] = event.get("tags") or {}
    return tags.get("set_by")


def trace(event: Any) -> str:
    return event["contexts"]["trace"]["trace_id"]


def test_a_task_has_its_callers_user_and_trace(tmp_path: Path) -> None:
    """And a scope of its own: what one task sets is not on another's events."""
    errors, transactions = sent("scope", tmp_path)
    assert [error["exception"]["values"][-1]["value"] for error in errors] == ["first", "second"]
    assert [error["user"] for error in errors] == [{"id": "ada"}, {"id": "bob"}]
    assert [set_by(error) for error in errors] == ["first", None]
    assert [each["transaction"] for each in transactions] == ["request of ada", "first", "request of bob", "second"]
    ada, first, bob, second = map(trace, transactions)
    assert ada == first == trace(errors[0])
    assert bob == second == trace(errors[1])
    assert ada != bob


def test_without_a_scope_tasks_share_the_workers(tmp_path: Path) -> None:
    """Once they do not, the page need not say so."""
    errors, _ = sent("none", tmp_path)
    assert [set_by(error) for error in errors] == ["first", "first"]
    assert len({trace(error) for error in errors}) == 1


def test_sentrys_integration_keeps_tasks_apart(tmp_path: Path) -> None:
    """Where it is enabled inside of the loop; it knows no caller."""
    errors, _ = sent("asyncio", tmp_path)
    assert [set_by(error) for error in errors] == ["first", None]
    assert [error.get("user") for error in errors] == [None, None]
