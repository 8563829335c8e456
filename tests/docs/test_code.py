"""No code in docs/ goes unseen: files are run, queries parse, commands have the options that are named."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Callable

import pytest
import yaml
from typer.testing import CliRunner

from taskctx.cli import app
from tests.dashboards.promql import labels_of
from tests.docs.pages import BLOCKS, PAGES, Block, lines, unfenced
from tests.docs.test_programs import RUN

LANGUAGES: dict[str, Callable[[str], object]] = {
    "python": ast.parse,
    "yaml": yaml.safe_load,
    "toml": tomllib.loads,
    "promql": labels_of,
    "sh": lambda text: [shlex.split(line, comments=True) for line in text.splitlines()],
    "traceql": str,  # tests/dashboards/test_runbooks.py
    "text": str,  # output
    "{toctree}": str,  # Sphinx's
    "{eval-rst}": str,
}
"""What reads a block of each language; it raises when it cannot."""

ELSEWHERE = {"deploy.md", "logging.md", "testing.md"}
"""Pages whose programs and manifests have tests of their own: tests/deploy, tests/testing."""

TYPED_LINES = sorted({line for page in PAGES for line in lines(page) if line.startswith("taskctx ")})


def name(block: Block) -> str:
    return f"{block.page}-{block.language}"


@pytest.mark.parametrize("block", BLOCKS, ids=name)
def test_every_block_can_be_read(block: Block) -> None:
    """It says what language it is in, and it is that."""
    LANGUAGES[block.language](block.text)


def test_every_program_is_run() -> None:
    """Python and YAML are files with a name, and a test runs each."""
    found = [block for block in BLOCKS if block.language in {"python", "yaml"} and block.page not in ELSEWHERE]
    assert {(block.page, block.file) for block in found} == set(RUN)


@pytest.mark.parametrize("page", PAGES)
def test_code_stands_between_fences(page: str) -> None:
    """No block is code by its indentation alone, which says no language and is seen by no test."""
    assert re.findall(r"\n\n {4,}(?![-*\d]).*", unfenced(page)) == []


@pytest.mark.parametrize("line", TYPED_LINES)
def test_commands_have_the_options_that_are_named(line: str) -> None:
    """The help of a command has every option that a page uses."""
    words = shlex.split(line)[1:]
    options = [word for word in words if word.startswith("--")]
    command = words[:2] if words[0] == "dashboards" else words[:1]
    shown = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert shown.exit_code == 0
    for option in options:
        assert re.search(rf"{option}\b", shown.output), option
