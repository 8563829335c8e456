"""Requests of concurrent tasks share round trips.

The first request is sent at once.  Requests that come before its answer wait, and are sent as one batch after the
answer.  So a single request never waits, and concurrent requests share round trips.  There is no timer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextvars import Context
from typing import Generic, NamedTuple, TypeVar

MAX_REQUESTS = 256
MAX_BYTES = 1024 * 1024
"""The limits of one batch; a larger request is sent alone."""

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class _Waiting(NamedTuple, Generic[Request, Answer]):
    request: Request
    size: int
    answer: asyncio.Future[Answer]


class Lane(Generic[Request, Answer]):
    """Sends one request, or one batch of waiting requests, at a time.

    The cancellation of a request does not affect the other requests of its batch.  An error of ``send_batch`` is raised
    to all requests of the batch, so the refusal of a single request must be in that request's answer.
    """

    def __init__(
        self,
        send: Callable[[Request], Awaitable[Answer]],
        send_batch: Callable[[Sequence[Request]], Awaitable[Sequence[Answer]]],
        most: int = MAX_REQUESTS,
    ) -> None:
        """``send`` runs in the task and the context of the request's sender.  ``send_batch`` runs in a task of its own
        with a clean context, and needs a time limit of its own.  A batch has at most ``most`` requests.
        """
        self._most = most
        self._send = send
        self._send_batch = send_batch
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting[Request, Answer]] = deque()
        self._busy = False
        self._batches: asyncio.Task[None] | None = None

    async def ask(self, request: Request, size: int = 0) -> Answer:
        """The answer to one request; its values have ``size`` bytes."""
        if self._busy:
            answer: asyncio.Future[Answer] = self._loop.create_future()
            self._waiting.append(_Waiting(request, size, answer))
            return await answer
        self._busy = True
        try:
            return await self._send(request)
        finally:
            if self._waiting:
                # not every task factory has a context argument
                self._batches = Context().run(self._loop.create_task, self._send_batches())
            else:
                self._busy = False

    async def _send_batches(self) -> None:
        try:
            while batch := self._next_batch():
                # an error keeps the frames that it passed, and the frame of _answer holds the answers of other tasks
                await self._answer(batch)
        finally:
            # requests still wait here only when the event loop shuts down
            _cancel(self._waiting)
            self._waiting.clear()
            self._busy = False

    async def _answer(self, batch: Sequence[_Waiting[Request, Answer]]) -> None:
        try:
            answers = await self._send_batch([waiting.request for waiting in batch])
            # a list first, so that no request gets an answer when there are too few answers
            for waiting, answer in list(zip(batch, answers, strict=True)):
                if not waiting.answer.done():
                    waiting.answer.set_result(answer)
        except Exception as error:  # noqa: BLE001 - raised to each request of the batch
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
