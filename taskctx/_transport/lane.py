"""Requests of concurrent tasks travel together.

What comes first goes straight out.  What comes while that is under way waits, and leaves as one batch when the answer
is there; so a lone request waits for no other, and many at a time share their round trips.  There is no timer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from typing import Generic, NamedTuple, TypeVar

MAX_REQUESTS = 256
MAX_BYTES = 1024 * 1024
"""What travels together at most; one request that is larger goes alone."""

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class _Waiting(NamedTuple, Generic[Request, Answer]):
    request: Request
    size: int
    answer: asyncio.Future[Answer]


class Lane(Generic[Request, Answer]):
    """Sends one request, or a batch of those that came meanwhile, at a time.

    A request that is cancelled leaves the lane alone; the others of its batch go on.  An error of the journey is that
    of all who travelled together; what is refused to one must be in its answer.
    """

    def __init__(
        self,
        send: Callable[[Request], Awaitable[Answer]],
        send_batch: Callable[[Sequence[Request]], Awaitable[Sequence[Answer]]],
        most: int = MAX_REQUESTS,
    ) -> None:
        """``send`` runs in the task and the context of who asks; ``send_batch`` in a task and a clean context of its
        own, and it must come to an end by itself.  ``most`` requests make a batch.
        """
        self._most = most
        self._send = send
        self._send_batch = send_batch
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting[Request, Answer]] = deque()
        self._busy = False
        self._batches: asyncio.Task[None] | None = None

    async def ask(self, request: Request, size: int = 0) -> Answer:
        """The answer to one request, whose values are of ``size`` bytes."""
        if self._busy:
            answer: asyncio.Future[Answer] = self._loop.create_future()
            self._waiting.append(_Waiting(request, size, answer))
            return await answer
        self._busy = True
        try:
            return await self._send(request)
        finally:
            if self._waiting:
                # not every task factory takes a context
                self._batches = Context().run(self._loop.create_task, self._send_batches())
            else:
                self._busy = False

    async def _send_batches(self) -> None:
        try:
            while batch := self._next_batch():
                # an error keeps the frames that it passed, and this one will soon hold the answers of others
                await self._answer(batch)
        finally:
            # reached with requests waiting only when the event loop is being shut down
            _cancel(self._waiting)
            self._waiting.clear()
            self._busy = False

    async def _answer(self, batch: Sequence[_Waiting[Request, Answer]]) -> None:
        try:
            answers = await self._send_batch([waiting.request for waiting in batch])
            # a list first: nothing is answered where there are too few answers
            for waiting, answer in list(zip(batch, answers, strict=True)):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
        except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
        except BaseException:
            _cancel(batch)
            raise

    def _next_batch(self) -> list[_Waiting[Request, Answer]]:
        batch: list[_Waiting[Request, Answer]] = []
        size = 0
        while self._waiting:
            first = self._waiting[0]
            size += first.size
            if batch and (len(batch) == self._most or size > MAX_BYTES):
                break
            self._waiting.popleft()
            if not first.answer.done():
                batch.append(first)
        return batch


def _cancel(waiting: Iterable[_Waiting[Request, Answer]]) -> None:
    for each in waiting:
        each.answer.cancel()
