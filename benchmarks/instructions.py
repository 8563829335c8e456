"""In a child: what a task costs in CPython's bytecode instructions, by whose code they are in.

What a library does in C is not among them.
"""

from __future__ import annotations

from .opcodes import counting
from .orders import Count, Counted
from .parts import OTHERS, PARTS, part_of
from .stage import Lookout, Stage, at_a_time


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
        with counting(part_of) as submitting:
            await at_a_time(order.at_a_time, lambda each: stage.path.submit(docket, task, each[0], each[1]), callers)
        async with stage.worker(docket, order.at_a_time) as worker:
            with counting(part_of) as running:
                await worker.run_until_finished()
    lookout.check()
    counts = submitting + running
    return Counted(instructions={part: counts[part] / order.tasks for part in (*PARTS, OTHERS)})
