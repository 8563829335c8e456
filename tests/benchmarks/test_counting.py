"""Instructions and calls are counted where they are, and nowhere else."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import prometheus_client
import pytest
import redis

import taskctx
from benchmarks.counting import counting, counting_calls, counting_instructions
from benchmarks.counts import OTHERS, OURS, REST, part_of_file

FIRST = """
import asyncio

from . import second


def plain():
    return second.helper() + second.helper()


async def waits():
    for _ in range(3):
        await asyncio.sleep(0)
    return [each for each in second.three()]
"""

SECOND = """
def helper():
    return 1


def three():
    yield helper()
    yield helper()
    yield helper()
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of two modules, which call one another."""
    folder = tmp_path / "counted"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "first.py").write_text(FIRST)
    (folder / "second.py").write_text(SECOND)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    yield folder
    for name in ("counted.first", "counted.second", "counted"):
        sys.modules.pop(name, None)


def first(package: Path) -> ModuleType:
    return importlib.import_module(f"{package.name}.first")


def test_calls_and_modules(package: Path) -> None:
    """A call is of the module in which its code is; what calls it from outside is not counted."""
    module = first(package)
    with counting_calls(package) as calls:
        assert module.plain() == 2
    names = [Path(file).stem for file in calls.modules]
    assert names == ["first", "second", "second"]
    assert calls.figures() == {"calls": 3, "modules": 2, "changes": 2}


async def test_what_goes_on_is_no_new_call(package: Path) -> None:
    """A coroutine that waits three times counts once, and so does a generator that yields three times."""
    module = first(package)
    with counting_calls(package) as calls:
        assert await module.waits() == [1, 1, 1]
    own = [file for file in calls.modules if Path(file).stem == "second"]
    assert len(own) == 4  # the generator, and what it calls three times
    assert calls.modules[0].endswith("first.py")


async def test_coroutines_that_take_turns_are_told_apart(package: Path) -> None:
    """Each counts, though their frames go on by turns."""
    module = first(package)
    with counting_calls(package) as calls:
        await asyncio.gather(*(module.waits() for _ in range(5)))
    assert sum(Path(file).stem == "second" for file in calls.modules) == 5 * 4


def test_phases_are_counted_apart(package: Path) -> None:
    """What was taken is not counted again."""
    module = first(package)
    with counting_calls(package) as calls:
        module.plain()
        assert calls.take().figures()["calls"] == 3
        module.second.helper()
    assert calls.figures() == {"calls": 1, "modules": 1, "changes": 1}


def test_a_neighbour_whose_name_begins_alike_is_another(package: Path) -> None:
    """A package is its folder, not all that begins with its path."""
    other = package.with_name("counted_too")
    other.mkdir()
    (other / "__init__.py").write_text("def call():\n    return 1\n")
    module = importlib.import_module(other.name)
    try:
        with counting_calls(package) as calls:
            module.call()
        assert calls.figures()["calls"] == 0
    finally:
        del sys.modules[other.name]


def test_instructions_are_those_of_the_files(package: Path) -> None:
    """Each time as many, more for more work, and none of files elsewhere."""
    module = first(package)

    def counted(times: int, below: str) -> int:
        with counting_instructions(below) as count:
            for _ in range(times):
                module.plain()
        return count()

    once = counted(1, str(package))
    assert once > 0
    assert counted(1, str(package)) == once
    assert counted(7, str(package)) == 7 * once
    assert counted(1, str(package / "second.py")) < once
    assert counted(1, "/elsewhere") == 0


def test_counting_leaves_no_trace(package: Path) -> None:
    """Afterwards, and after an error, what was installed before is there again."""
    module = first(package)
    before = sys.gettrace(), sys.getprofile()
    with pytest.raises(TypeError), counting_calls(package), counting(lambda _: "all") as counts:
        module.second.helper("too many")
    assert (sys.gettrace(), sys.getprofile()) == before
    assert counts["all"] >= 0


@pytest.mark.parametrize(
    ("file", "part"),
    [
        (OURS / "telemetry" / "metrics.py", "taskctx: telemetry"),
        (OURS / "_transport" / "connection.py", "taskctx: the way to Redis"),
        (OURS / "fastmcp" / "deeper" / "anything.py", "taskctx: FastMCP"),
        (OURS / "operations.py", REST),
        (OURS / "testing" / "telemetry" / "spans.py", REST),
        (redis.__file__, "redis-py"),
        (prometheus_client.__file__, "prometheus_client"),
        (asyncio.__file__, "asyncio"),
        (taskctx.__file__, REST),
        ("/src/taskctx/.venv/lib/python3.11/site-packages/anything/client.py", OTHERS),
        (OURS.with_name("taskctx_other") / "telemetry" / "x.py", OTHERS),
        (OURS.parent / "tests" / "fastmcp" / "x.py", OTHERS),
    ],
)
def test_code_is_of_the_package_in_whose_folder_it_is(file: Path | str, part: str) -> None:
    """Whatever the folders above are called: a clone may be in one called taskctx, with its .venv in it."""
    assert part_of_file(str(file)) == part
