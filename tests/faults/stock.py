"""What the server has of each task: Docket's record, our snapshot."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from docket import Docket
from redis.asyncio import Redis

from taskctx._snapshot.keys import parse_task_key
from tests.faults.case import Case
from tests.helpers import wait_until


@dataclass(frozen=True)
class Stock:
    """Numbers of accepted tasks, by what there is of them.

    Attributes:
        recorded: Docket has a record of the task: it is to run, runs, or ran.
        saved: there is a snapshot.
    """

    recorded: set[int]
    saved: set[int]

    @classmethod
    async def of(cls, case: Case) -> Stock:
        recorded, saved = await _ids(case)
        ids = case.ledger.refresh().ids().items()
        return cls(
            {number for number, task_id in ids if task_id in recorded},
            {number for number, task_id in ids if task_id in saved},
        )


async def half_submitted(case: Case) -> set[str]:
    """The ids of tasks that are saved and not added yet."""
    recorded, saved = await _ids(case)
    return saved - recorded


async def _ids(case: Case) -> tuple[set[str], set[str]]:
    """The ids of all tasks of which Docket has a record, and of those that have a snapshot."""
    docket = Docket(name=case.docket_name, url=case.url)
    runs, snapshots = docket.runs_key(""), docket.key("taskctx:task:*:snapshot")
    async with Redis.from_url(case.server_url or case.url) as redis:
        # the snapshots first: a task that is added in between is not taken for one that is only saved
        ours = [key.decode().split(":")[-2] async for key in redis.scan_iter(match=snapshots, count=1000)]
        keys = [key.decode().removeprefix(runs) async for key in redis.scan_iter(match=f"{runs}*", count=1000)]
    return {parts.task_id for key in keys if (parts := parse_task_key(key))}, {unquote(segment) for segment in ours}


async def wiped(case: Case) -> set[int]:
    """Accepted tasks that the server lost, by Docket's record of them being gone, once all others are settled."""
    gone: set[int] = set()

    async def others_settled() -> bool:
        nonlocal gone
        gone = set(case.ledger.unsettled()) - (await Stock.of(case)).recorded
        return gone == set(case.ledger.refresh().unsettled())

    await wait_until(others_settled, timeout=120)
    return gone
