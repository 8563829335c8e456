"""What the processes are told to do."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

RUNS = 3
"""Of each task that fails before it succeeds, or that perpetuates itself."""

BETWEEN_RUNS = timedelta(seconds=2)


class Job(BaseModel):
    """A task's argument.

    Attributes:
        number: of the task.
        submission: of the call that submitted it, alone or in a batch, by one of so many ``callers``.
        seconds: how long it takes.
        expires_at: when the caller's token expires, seconds since the epoch.
        run: of a task that perpetuates itself.
    """

    number: int
    submission: int
    callers: int
    seconds: float = 0.0
    expires_at: int | None = None
    run: int = 1


class Order(BaseModel):
    """What to submit.

    Attributes:
        function: name of the task.
        first: number of the first task, of ``count``; submissions go round so many ``callers``.
        at_a_time: how many submissions are under way together.
        batch: tasks to a submission, which is a call of ``add_many``; 0 for ``add``.
        keyed: the task's number is its key, so that a second try cannot schedule it twice.
        seconds: how long each task takes.
        pause: seconds between two submissions in one of ``at_a_time`` lanes.
        numbers: of the tasks, one submission each, in place of ``first`` and ``count``.
        request: the callers' so many-th request for the same tasks.
        replace: with ``replace``, due now, instead of ``add``.
        ahead: seconds until each task is due.
        expires_at: when the callers' tokens expire, seconds since the epoch.
        stall: seconds for which the event loop is blocked after a save has begun, again and again; 0 is never.
    """

    docket: str
    url: str
    function: str = "work"
    first: int = 0
    count: int
    callers: int = 50
    at_a_time: int = 10
    batch: int = 0
    keyed: bool = True
    seconds: float = 0.0
    pause: float = 0.0
    numbers: list[int] = []
    request: int = 0
    replace: bool = False
    ahead: float = 0.0
    expires_at: int | None = None
    stall: float = 0.0
