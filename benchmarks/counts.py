"""In a child: what a task comes to in bytecode instructions, by whose code they are in, and in calls of taskctx's own.

What a library does in C is not among them.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

from docket.dependencies import Dependency

import taskctx

from .counting import Calls, counting, counting_calls
from .legs import Leg, Tally, lanes, warm

OURS = Path(taskctx.__file__).parent
FOLDERS = {"telemetry": "taskctx: telemetry", "_transport": "taskctx: the way to Redis", "fastmcp": "taskctx: FastMCP"}
REST = "taskctx: all else"
PACKAGES = {
    "FastMCP": ("fastmcp", "fastmcp_tasks", "mcp"),
    "Docket": ("docket", "uncalled_for"),
    "prometheus_client": ("prometheus_client",),
    "redis-py": ("redis",),
    "OpenTelemetry": ("opentelemetry",),
    "pydantic": ("pydantic",),
    "asyncio": ("asyncio",),
}
OTHERS = "the standard library, and others"
PHASES = ("`taskctx.add`", "restore, until the body", "after the body")
PARTS = (*FOLDERS.values(), REST, *PACKAGES, OTHERS)


@cache
def _places() -> dict[Path, str]:
    """The folders with the code of each part; taskctx's is where it is imported from."""
    places = {OURS: REST, **{OURS / folder: part for folder, part in FOLDERS.items()}}
    for part, names in PACKAGES.items():
        found = (spec.submodule_search_locations or () for spec in map(find_spec, names) if spec)
        places |= {Path(place): part for locations in found for place in locations}
    return places


@cache
def part_of_file(file: str) -> str:
    """The part of the innermost folder that the file is in."""
    return next((_places()[folder] for folder in Path(file).parents if folder in _places()), OTHERS)


def part_of(frame: FrameType) -> str:
    """Code that was made at run time (a dataclass's ``__init__``) has no file, and is part of its caller."""
    caller: FrameType | None = frame
    while caller is not None and caller.f_code.co_filename.startswith("<"):
        caller = caller.f_back
    return OTHERS if caller is None else part_of_file(caller.f_code.co_filename)


async def instructions(leg: Leg, tasks: int, at_a_time: int) -> dict[str, float]:
    """The instructions of one task, submitted and run, by the parts above.

    Raises:
        RuntimeError: a task saw another caller than its own.
    """
    tally = Tally(leg.path, tasks)
    task = tally.task
    async with leg.docket() as docket:
        docket.register(task)
        await warm(docket, at_a_time)
        requests = [(number, leg.path.request(number)) for number in range(tasks)]
        with counting(part_of) as submitting:
            await lanes(at_a_time, lambda each: leg.path.submit(docket, task, *each), requests)
        async with leg.worker(docket, at_a_time) as worker:
            with counting(part_of) as running:
                await worker.run_until_finished()
    tally.check()
    return {part: (submitting[part] + running[part]) / tasks for part in PARTS}


class _First(Dependency[None]):
    """Entered before taskctx's own dependency: what is called until then belongs to the worker's start."""

    counted = Calls()

    async def __aenter__(self) -> None:
        self.counted.take()

    async def __aexit__(self, *_: object) -> None: ...


async def calls(leg: Leg) -> dict[str, dict[str, int]]:
    """Calls of taskctx's own functions for one task alone; the second one, as the first finds out what is kept."""
    phases: dict[str, Calls] = {}
    first = _First()
    dependencies = leg.path.dependencies
    leg.path.dependencies = {"first": first, **dependencies}

    async def job(_number: int) -> None:
        phases[PHASES[1]] = first.counted.take()

    async with leg.docket() as docket:
        docket.register(job)
        for number in range(2):
            with taskctx.bind_caller(**leg.path.request(number)), counting_calls(OURS) as phases[PHASES[0]]:
                await taskctx.add(docket, job)(number)
            async with leg.worker(docket, 1) as worker:
                with counting_calls(OURS) as first.counted:
                    await worker.run_until_finished()
                phases[PHASES[2]] = first.counted
    leg.path.dependencies = dependencies
    return {phase: phases[phase].figures() for phase in PHASES}
