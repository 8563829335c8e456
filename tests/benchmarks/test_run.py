"""``python -m benchmarks``, everything once with a handful of tasks."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.children import BenchmarkError
from benchmarks.readme import BEGIN, END, fill, filled
from benchmarks.rendering import markdown
from benchmarks.results import Result
from benchmarks.variants import ALL
from tests.conftest import BACKEND

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


@pytest.fixture
def readme(tmp_path: Path) -> Path:
    """A copy."""
    return Path(shutil.copy(README, tmp_path))


def around(path: Path) -> tuple[str, str]:
    text = path.read_text("utf-8")
    return text.partition(BEGIN)[0], text.partition(END)[2]


@pytest.mark.skipif(BACKEND != "valkey", reason="a run brings both backends; once is enough")
def test_everything_is_measured(readme: Path) -> None:
    """One command: one JSON object of the promised shape, and the README's table from the same run."""
    command = [sys.executable, "-m", "benchmarks", "--smoke", "--json", "--readme", str(readme)]
    # settings of whoever runs it change nothing
    environment = os.environ | {"TASKCTX_METRICS": "nonsense", "FASTMCP_TASKS_ENCRYPTION_KEY": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = Result.model_validate_json(done.stdout)
    _check(result, json.loads(done.stdout))
    assert around(readme) == around(README)
    assert filled(readme) == markdown(result)


def _check(result: Result, printed: dict[str, Any]) -> None:
    names = [variant.name for variant in ALL]
    assert [(group.backend, group.at_a_time) for group in result.of("path")] == [
        ("valkey", 1),
        ("valkey", 50),
        ("memory", 1),
        ("memory", 50),
    ]
    assert all([row.name for row in group.rows] == names for group in result.of("path"))
    assert [group.at_a_time for group in result.of("floor")] == [1, 50]
    assert [group.size for group in result.of("payload")] == [512, 65_536]
    assert [group.size for group in result.of("workers")] == [1, 2]
    assert [group.variant for group in result.of("backlog")] == ["none", "sealed"]
    assert [each.entries for each in result.registries] == [10, 100]
    assert {each.name for each in result.memory} == {
        "plain",
        "sealed",
        "fastmcp",
        "fastmcp_encrypted",
        "fastmcp_instrumented",
    }
    assert all(row.costs["cpu"].microseconds.median > 0 for group in result.groups for row in group.rows)
    assert {"taskctx", "pydocket", "redis", "hiredis", "Valkey"} <= set(result.machine.versions)
    assert result.machine.cores
    assert result.goals()
    (goal, *_) = printed["groups"][1]["rows"][1]["goals"]
    assert set(goal) == {"metric", "measured", "limit", "strictly", "of", "met"}


def test_the_readme_has_its_place(readme: Path) -> None:
    """What is put there replaces what was, and nothing around it."""
    before = around(readme)
    for text in ("| a |\n|---|\n| 1 |", "| b |\n|---|\n| 2 |"):
        fill(readme, f"{text}\n")
        assert filled(readme) == text
        assert around(readme) == before == around(README)


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}\n{BEGIN}", f"{BEGIN}\n{END}\n{BEGIN}\n{END}"])
def test_a_file_without_the_place_stays_as_it_is(tmp_path: Path, text: str) -> None:
    """And the error says what it lacks."""
    path = tmp_path / "other.md"
    path.write_text(text)
    with pytest.raises(BenchmarkError, match="has no place for the table"):
        fill(path, "| a |")
    assert path.read_text() == text
