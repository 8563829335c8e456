"""``python -m benchmarks --where``: every step carries what it says, and instructions are somebody's."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.children import BenchmarkError, Children
from benchmarks.instructions import run_count
from benchmarks.orders import Count, Counted, Phases, Round
from benchmarks.parts import OTHERS, PARTS
from benchmarks.paths import WithoutContext
from benchmarks.readme import BEGIN, END, filled
from benchmarks.rendering import markdown
from benchmarks.results import Breakdown
from benchmarks.stage import Stage
from benchmarks.steps import STEPS, Journeys
from benchmarks.variants import BY_NAME, BY_STEPS, NONE, SEALED
from tests.conftest import BACKEND

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="a run brings its own server; once is enough")


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children() as children:
        yield children


def test_it_is_measured(tmp_path: Path) -> None:
    """One command: the steps, the instructions, and the tables in a file."""
    page = tmp_path / "cost.md"
    page.write_text(f"before\n{BEGIN}\n{END}\nafter\n")
    command = [sys.executable, "-m", "benchmarks", "--where", "--smoke", "--json", "--readme", str(page)]
    done = subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = Breakdown.model_validate_json(done.stdout)
    assert [group.at_a_time for group in result.groups] == [1, 50]
    assert all([row.name for row in group.rows] == [step.name for step in BY_STEPS] for group in result.groups)
    against = {row.name: row.against for row in result.groups[0].rows}
    assert (against["none"], against["sealed"], against["fastmcp_instrumented"]) == (None, "none", "fastmcp")
    counted = ("sealed", "sealed_traced", "fastmcp_instrumented")
    assert [(part.name, part.at_a_time) for part in result.parts] == [(name, n) for n in (1, 50) for name in counted]
    assert all(part.instructions["taskctx: telemetry"] > 0 for part in result.parts)
    assert filled(page) == markdown(result)


@pytest.mark.parametrize("name", STEPS)
def test_steps_do_what_they_are_for(children: Children, name: str) -> None:
    """All tasks run; what is put before a task is there in it."""
    done = children.of(BY_NAME[name]).ask(Round(url=children.url, tasks=7, at_a_time=3, look_at=1), Phases)
    assert done.looked == 7


def test_a_step_whose_value_is_not_its_own_counts_for_nothing() -> None:
    """It would be fast."""
    path = Journeys()
    with pytest.raises(ValueError, match="another value was fetched"):
        path.read(b"", "place")


def test_instructions_are_counted_where_they_are(children: Children) -> None:
    """Docket's tasks have none of ours; taskctx's have, in all of its parts but FastMCP's."""
    order = Count(url=children.url, tasks=20, at_a_time=5)
    alone, sealed = (children.of(variant).ask(order, Counted).instructions for variant in (NONE, SEALED))
    assert set(alone) == set(sealed) == {*PARTS, OTHERS}
    ours = [part for part in PARTS if part.startswith("taskctx: ") and part != "taskctx: FastMCP"]
    assert all(alone[part] == 0 < sealed[part] for part in ours)
    assert alone["taskctx: FastMCP"] == sealed["taskctx: FastMCP"] == 0
    assert alone["Docket"] > 0
    assert alone["redis-py"] > 0


async def test_counting_leaves_no_trace() -> None:
    """Afterwards nobody counts who did not before."""
    stage = Stage(WithoutContext(), flush=lambda: None)
    before = sys.gettrace()
    counted = await run_count(stage, Count(url="memory://", tasks=4, at_a_time=2))
    assert sys.gettrace() is before
    assert counted.instructions["Docket"] > 0


def test_a_server_that_is_not_there_ends_the_run(children: Children) -> None:
    """With the child's name."""
    with pytest.raises(BenchmarkError, match="child none"):
        children.of(NONE).ask(Count(url="redis://127.0.0.1:1", tasks=1, at_a_time=1), Counted)
