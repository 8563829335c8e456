"""docs/operating.md, the README and the runbooks name commands, options and checks that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from taskctx.cli import app

ROOT = Path(__file__).parents[2]
OPERATING = ROOT / "docs" / "operating.md"
DOCUMENTS = [ROOT / "README.md", OPERATING, *sorted((ROOT / "docs" / "runbooks").glob("*.md"))]
LINES = sorted({
    line.strip()
    for document in DOCUMENTS
    for line in document.read_text().splitlines()
    if re.match(r" *taskctx (doctor|inspect|top)\b", line)
})  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_commands_have_the_options_that_are_named(line: str) -> None:
    """The help of a command has every option that the page uses."""
    _, command, *words = line.split()
    shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0
    for option in (word for word in words if word.startswith("--")):
        assert re.search(rf"{option}\b", shown.output), option


def test_every_check_is_in_the_table() -> None:
    """The table has every check of the doctor, and no other row."""
    sources = "".join(path.read_text() for path in (ROOT / "taskctx" / "cli" / "doctor").glob("*.py"))
    checks = set(re.findall(r'\b(?:Finding|ok|not_looked|_error)\(\s*"(\w+)"', sources))
    table = OPERATING.read_text().partition("| check | what is found |")[2].partition("\n\n")[0]
    named = {name for row in re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", row)}
    assert named == checks
