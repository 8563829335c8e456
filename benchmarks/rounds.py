"""In a child: tasks are submitted, and then run by one worker."""

from __future__ import annotations

from .orders import Phases, Round
from .stage import Lookout, Stage, at_a_time


async def run_round(stage: Stage, order: Round) -> Phases:
    """The whole path of so many tasks, each phase by itself.

    Raises:
        RuntimeError: not all tasks ran, or one saw another caller than its own.
    """
    lookout = Lookout(stage.path, order.look_at, enough=order.tasks)
    task = lookout.task
    async with stage.docket(order.url) as docket:
        docket.register(task)
        await stage.warm(docket, order.at_a_time)
        callers = [(number, stage.path.caller(number, order.payload)) for number in range(order.tasks)]
        submitted = await stage.time(
            lambda: at_a_time(order.at_a_time, lambda each: stage.path.submit(docket, task, each[0], each[1]), callers)
        )
        drained = await stage.drain(docket, order.at_a_time, lookout, empty=True)
    lookout.check()
    return Phases(into=submitted / order.tasks, out=drained / order.tasks, looked=lookout.looked)
