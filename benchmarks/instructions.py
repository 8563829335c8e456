"""In a child: what a task costs in CPython's bytecode instructions, by whose code they are in.

What a library does in C is not among them.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import FrameType

import taskctx

from .opcodes import counting
from .orders import Count, Counted
from .parts import OTHERS, PARTS
from .stage import Lookout, Stage, at_a_time

_OURS = str(Path(taskctx.__file__).parent)


async def run_count(stage: Stage, order: Count) -> Counted:
    """Submit so many tasks and run them, counting.

    Raises:
        RuntimeError: a task saw another caller than its own.
    """
    lookout = Lookout(stage.path, every=1, enough=order.tasks)
    task = lookout.task
    async with stage.docket(order.url) as docket:
        docket.register(task)
        await stage.warm(docket, order.at_a_time)
        callers = [(number, stage.path.caller(number, None)) for number in range(order.tasks)]
        with counting(_part_of) as submitting:
            await at_a_time(order.at_a_time, lambda each: stage.path.submit(docket, task, each[0], each[1]), callers)
        async with stage.worker(docket, order.at_a_time) as worker:
            with counting(_part_of) as running:
                await worker.run_until_finished()
    lookout.check()
    counts = submitting + running
    return Counted(instructions={part: counts[part] / order.tasks for part in (*PARTS, OTHERS)})


def _part_of(frame: FrameType) -> str:
    """Code that was made at run time (a dataclass's ``__init__``) is its caller's."""
    caller: FrameType | None = frame
    while caller is not None and caller.f_code.co_filename.startswith("<"):
        caller = caller.f_back
    return OTHERS if caller is None else _part(caller.f_code.co_filename)


@cache
def _part(file: str) -> str:
    where = f"taskctx/{file.removeprefix(_OURS).lstrip('/')}" if file.startswith(_OURS) else file
    return next((part for part, places in PARTS.items() if any(place in where for place in places)), OTHERS)
