"""Requests of concurrent tasks share round trips.

The first request is sent at once.  Requests that come before its answer wait, and are sent as one batch after the
answer.  So a single request never waits, and concurrent requests share round trips.  No timer delays a request.

A connection may never answer, after a failover for instance.  So requests do not wait longer than :data:`PATIENCE` for
the answer to others: they are sent on another connection.
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

PATIENCE = 5.0
"""How many seconds requests wait for the answer to requests that were sent before."""

Request = TypeVar("Request")
Answer = TypeVar("Answer")


class _Waiting(NamedTuple, Generic[Request, Answer]):
    request: Request
    size: int
    answer: asyncio.Future[Answer]


class Lane(Generic[Request, Answer]):
    """Sends one request, or one batch of waiting requests, at a time, unless an answer is long in coming.

    The cancellation of a request does not affect the other requests of its batch.  An error of ``send_batch`` is raised
    to all requests of the batch, so the refusal of a single request must be in that request's answer.

    Attributes:
        patience: how many seconds requests wait for the answer to others.
    """

    def __init__(
        self,
        send: Callable[[Request], Awaitable[Answer]],
        send_batch: Callable[[Sequence[Request]], Awaitable[Sequence[Answer]]],
        most: int = MAX_REQUESTS,
        patience: float = PATIENCE,
    ) -> None:
        """``send`` runs in the task and the context of the request's sender.  ``send_batch`` runs in a task of its own
        with a clean context, and needs a time limit of its own.  A batch has at most ``most`` requests.
        """
        self._most = most
        self.patience = patience
        self._send = send
        self._send_batch = send_batch
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting[Request, Answer]] = deque()
        # the time at which requests were sent, while the others wait for their answer; None while the lane is free
        self._sent_at: float | None = None
        self._is_watched = False
        self._batches: set[asyncio.Task[None]] = set()

    async def ask(self, request: Request, size: int = 0) -> Answer:
        """The answer to one request; its values have ``size`` bytes."""
        if self._sent_at is not None:
            answer: asyncio.Future[Answer] = self._loop.create_future()
            self._waiting.append(_Waiting(request, size, answer))
            if not self._is_watched:
                self._watch(self._sent_at + self.patience)
            return await answer
        sent_at = self._sent_at = self._loop.time()
        try:
            return await self._send(request)
        finally:
            if self._sent_at == sent_at:
                if self._waiting:
                    Context().run(self._go_on)
                else:
                    self._sent_at = None

    def _go_on(self) -> None:
        """Send what waits.  Call it in a clean context, because not every task factory has a context argument."""
        batches = self._loop.create_task(self._send_batches())
        self._batches.add(batches)
        batches.add_done_callback(self._batches.discard)

    def _watch(self, at: float) -> None:
        self._is_watched = True
        self._loop.call_at(at, self._look, context=Context())

    def _look(self) -> None:
        """Send what waits, if the requests before it had no answer for so long."""
        self._is_watched = False
        if self._waiting and self._sent_at is not None:
            now = self._loop.time()
            if now - self._sent_at >= self.patience:
                self._sent_at = now
                self._go_on()
            self._watch(self._sent_at + self.patience)

    async def _send_batches(self) -> None:
        sent_at = self._sent_at
        try:
            while self._sent_at == sent_at and (batch := self._next_batch()):
                self._sent_at = sent_at = self._loop.time()
                # an error keeps the frames that it passed, and the frame of _answer holds the answers of other tasks
                await self._answer(batch)
        finally:
            # where this was overtaken, the waiting requests are for the batches that overtook it
            if self._sent_at == sent_at:
                # requests still wait here only when the event loop shuts down
                _cancel(self._waiting)
                self._waiting.clear()
                self._sent_at = None

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
