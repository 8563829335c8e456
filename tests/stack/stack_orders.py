"""A caller of the service, who can get at its Redis too, and so make faults."""

# redis-py is typed in part
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false

from __future__ import annotations

import secrets as randomness
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import httpx
from redis import Redis
from redis.exceptions import RedisError

from examples.fastapi_service import auth
from tests.stack import stack_leaks as leaks
from tests.stack.programs import Patience


@dataclass
class Order:
    """A report that was ordered, in the trace of the client's."""

    trace_id: str
    report_id: str
    status: str = "queued"


@dataclass(frozen=True)
class Caller:
    """Orders reports; not careful with credentials."""

    api: httpx.Client
    redis: Redis
    signing_key: str
    patience: Patience

    def order(self, kind: str, *, lifetime: int = 3600, due_in: float = 0) -> Order:
        """With credentials in headers, which are no business of traces, and in the URL, which is in every span."""
        trace_id = randomness.token_hex(16)
        headers = self.authorized(lifetime) | {
            "traceparent": f"00-{trace_id}-{randomness.token_hex(8)}-01",
            "cookie": leaks.CREDENTIALS["app.cookie"],
            "x-api-key": leaks.CREDENTIALS["api_key"],
        }
        query = {"access_token": leaks.JWT, "note": leaks.CREDENTIALS["app.line"]}
        body = {"kind": kind, "due_in": due_in}
        answer = self.api.post("/reports", json=body, headers=headers, params=query).raise_for_status()
        return Order(trace_id, answer.json()["id"])

    def authorized(self, lifetime: int = 3600) -> dict[str, str]:
        return {"authorization": f"Bearer {auth.issue(self.signing_key, 'ada', lifetime=lifetime)}"}

    def timed(self, note: Callable[[float, int], None], method: str, path: str, **arguments: Any) -> httpx.Response:
        """A request, with its duration and status noted."""
        began = time.monotonic()
        answer = self.api.request(method, path, headers=self.authorized(), **arguments)
        note(time.monotonic() - began, answer.status_code)
        return answer

    def concluded(self, report_id: str, at_most: float = 40) -> str:
        """How a report ended, when it has; ``queued`` if it never does."""
        self.patience.until(lambda: self._status(report_id) != "queued", at_most)
        return self._status(report_id)

    def lose(self, order: Order) -> None:
        """The snapshot of a task that waits is gone, as by eviction."""
        assert self.redis.delete(self._snapshot(order)) == 1

    def damage(self, order: Order) -> None:
        """The snapshot of a task that waits is overwritten with what is none."""
        assert self.redis.set(self._snapshot(order), b"{]", ex=60)

    def redis_answers(self) -> bool:
        try:
            return bool(self.redis.execute_command("PING"))
        except RedisError:
            # not yet, or not yet done with loading
            return False

    def _status(self, report_id: str) -> str:
        answer = self.api.get(f"/reports/{report_id}", headers=self.authorized())
        return answer.raise_for_status().json()["status"]

    def _snapshot(self, order: Order) -> bytes:
        (key,) = cast("list[bytes]", list(self.redis.scan_iter(match=f"*{order.report_id}:snapshot", count=10_000)))
        return key
