"""Where reports are kept: beside the tasks, in Docket's own Redis.  A real service has a database for this.

Every key has the owner's scope in it, so a caller cannot ask for another caller's report.
"""

from __future__ import annotations

import time
from enum import StrEnum
from typing import Final
from urllib.parse import quote

from docket import Docket
from pydantic import BaseModel

_BY_AGE: Final = "reports:by-age"


class Kind(StrEnum):
    """The kinds of reports; each has a task of its own in ``tasks.py``."""

    SUMMARY = "summary"
    DIGEST = "digest"
    ACCOUNT = "account"
    MARKET = "market"


class Status(StrEnum):
    QUEUED = "queued"
    READY = "ready"
    FAILED = "failed"


class Report(BaseModel):
    id: str
    kind: Kind
    status: Status
    created_at: float
    content: str = ""


class Reports:
    """All reports.  ``scope`` is the owner's: :func:`taskctx.get_task_scope` in a handler, in a task the task's."""

    def __init__(self, docket: Docket) -> None:
        self._docket = docket

    async def create(self, scope: str, report_id: str, kind: Kind) -> Report:
        report = Report(id=report_id, kind=kind, status=Status.QUEUED, created_at=time.time())
        key = self._key(scope, report_id)
        async with self._docket.redis() as redis:
            await redis.set(key, report.model_dump_json())
            await redis.zadd(self._docket.key(_BY_AGE), {key: report.created_at})
        return report

    async def get(self, scope: str, report_id: str) -> Report | None:
        async with self._docket.redis() as redis:
            found = await redis.get(self._key(scope, report_id))
        return None if found is None else Report.model_validate_json(found)

    async def conclude(self, scope: str, report_id: str, status: Status, content: str = "") -> None:
        """Write down how it ended; a report that was removed meanwhile stays removed."""
        report = await self.get(scope, report_id)
        if report is None:
            return
        done = report.model_copy(update={"status": status, "content": content})
        async with self._docket.redis() as redis:
            await redis.set(self._key(scope, report_id), done.model_dump_json(), xx=True)

    async def remove(self, scope: str, report_id: str) -> None:
        await self._remove(self._key(scope, report_id))

    async def remove_older_than(self, seconds: float) -> int:
        async with self._docket.redis() as redis:
            old = await redis.zrangebyscore(self._docket.key(_BY_AGE), "-inf", time.time() - seconds)
        for key in old:
            await self._remove(key.decode())
        return len(old)

    async def _remove(self, key: str) -> None:
        async with self._docket.redis() as redis:
            await redis.delete(key)
            await redis.zrem(self._docket.key(_BY_AGE), key)

    def _key(self, scope: str, report_id: str) -> str:
        return self._docket.key(f"reports:{quote(scope, safe='')}:{quote(report_id, safe='')}")
