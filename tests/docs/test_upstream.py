"""The table of what we work around: each row says who, since when, what, where, and which test holds it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import MAKE_TARGETS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/upstream.md").read_text()
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| Behaviour")]


def cells(row: str) -> list[str]:
    return [cell.strip() for cell in row.strip().strip("|").split(" | ")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: cells(row)[0][:40])
def test_a_row_is_whole(row: str) -> None:
    """With a version or a link, modules of ours that are there, and tests that are."""
    behaviour, seen, does, where, tests = cells(row)
    assert behaviour
    assert does
    assert re.search(r"\d|\]\(https://", seen)
    for path in re.findall(r"`([^`]+)`", where):
        assert (ROOT / "taskctx" / path).is_file() or (ROOT / path).is_file(), path
    held = re.findall(r"`([^`]+)`", tests)
    assert held
    for test in held:
        if test.startswith("make "):
            assert test.removeprefix("make ") in MAKE_TARGETS, test
            continue
        path, _, name = test.partition("::")
        assert (ROOT / path).is_file(), path
        if name:
            tree = ast.parse((ROOT / path).read_text())
            defined = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
            assert name in defined, test


def test_every_finding_is_in_the_table() -> None:
    """A script shows what is worked around."""
    found = {path.name for path in (ROOT / "findings").glob("*.sh")}
    assert not {name for name in found if name not in PAGE}
