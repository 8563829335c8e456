"""A snapshot is stored before its task is scheduled; this keeps the two in step, whatever Docket answers.

The order is strict, because a worker may claim a task the moment it is scheduled.  So a task that was not scheduled
after all must leave no snapshot behind, and a duplicate must leave the first submission's in force: it looks before
it writes, and waits while another submitter stands between its own two steps.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from docket import Docket
from docket.execution import Disposition, Execution

from .._snapshot.codec import codec_for
from .._snapshot.record import parse_record
from .._transport import commands
from .._transport.commands import Stored
from .._transport.deadline import BackendError, bounded
from ..errors import SnapshotError
from ..settings import current_settings

IN_FLIGHT = 2
"""Seconds for which a snapshot without a task is taken to be another submitter's, who is about to schedule it."""

POLL_INTERVAL = 0.02


class Slot(NamedTuple):
    """Where one task's snapshot goes.

    Attributes:
        task_key: the Docket task key.
        redis_key: the snapshot's, complete.
        ttl: seconds.
        unique: the task's id was made for it, so nobody else can be using the slot.
    """

    docket: Docket
    task_key: str
    redis_key: str
    ttl: int
    unique: bool = False


class _Standing(Enum):
    OURS = "our snapshot is there"
    TAKEN_OVER = "our snapshot is there, over one of an earlier run"
    THEIRS = "the task is scheduled or running already; its own snapshot was left in force"


@dataclass(frozen=True, slots=True)
class Reservation:
    """A snapshot that waits for its task to be scheduled.

    Attributes:
        value: as stored; None where the task is to run without context.
        previous: what stood in the slot before, to be put back if Docket does not schedule the task.
        generation: of the task that is being replaced; the replacement has a later one.
    """

    slot: Slot
    value: bytes | None = field(repr=False)
    standing: _Standing = _Standing.OURS
    previous: Stored | None = field(default=None, repr=False)
    generation: int = -1

    @property
    def written(self) -> bool:
        return self.value is not None and self.standing is not _Standing.THEIRS

    async def conclude(self, execution: Execution) -> bool:
        """Docket answered; says whether the task is the one that was to be scheduled.

        Never raises: the answer stands, and a snapshot left over has a TTL.
        """
        if execution.disposition is Disposition.SCHEDULED and self.standing is _Standing.OURS:
            return True
        with suppress(BackendError):
            async with bounded():
                return await self._settle(execution)
        return execution.disposition is Disposition.SCHEDULED

    async def abandon(self) -> None:
        """Docket failed.  Its answer may only have been lost, so the snapshot goes unless the task is there."""
        with suppress(BackendError):
            async with bounded():
                await self.take_back_unless_scheduled()

    async def _settle(self, execution: Execution) -> bool:
        if execution.disposition is Disposition.FAILED:
            await self.take_back_unless_scheduled()
            return False
        scheduled = execution.disposition is Disposition.SCHEDULED or await self._was_asked_twice(execution)
        await (self._confirm() if scheduled else self._take_back())
        return scheduled

    async def _was_asked_twice(self, execution: Execution) -> bool:
        """Docket knows the task already, because redis-py sent our own command again, whose answer was lost.

        Docket's record tells: it has the very moment, to the microsecond, for which this submission is due.
        """
        if execution.disposition is not Disposition.ALREADY_SCHEDULED or self.standing is _Standing.THEIRS:
            return False
        if self.slot.unique:
            return True
        run = await commands.run_of(self.slot.docket, self.slot.task_key)
        return run.due == execution.when.timestamp()

    async def take_back_unless_scheduled(self) -> None:
        """As :meth:`abandon`, which bounds it and keeps its errors."""
        run = await commands.run_of(self.slot.docket, self.slot.task_key)
        if not run.live or run.generation <= self.generation:
            await self._take_back()

    async def _confirm(self) -> None:
        slot = self.slot
        if self.value is None:
            return
        if self.standing is _Standing.THEIRS:
            # the run we deferred to ended in between
            await commands.put(slot.docket, slot.redis_key, self.value, slot.ttl)
        elif self.standing is _Standing.TAKEN_OVER:
            # the earlier run may have ended in between, and shortened what it took for its own
            await commands.expire(slot.docket, slot.redis_key, slot.ttl)

    async def _take_back(self) -> None:
        if self.written or self.previous is not None:
            value, ttl = self.previous or (None, 1)
            await commands.compare_and_set(self.slot.docket, self.slot.redis_key, self.value, value, max(1, ttl))


async def abandon_all(reservations: Iterable[Reservation]) -> None:
    """As :meth:`Reservation.abandon`, for a batch, within one bound."""
    with suppress(BackendError):
        async with bounded():
            await asyncio.gather(*(each.take_back_unless_scheduled() for each in reservations), return_exceptions=True)


async def reserve(slot: Slot, value: bytes | None) -> Reservation:
    """Store a snapshot for a task to be added, unless the task is there already."""
    if value is None:
        return Reservation(slot, None) if slot.unique else await _reserve_contested(slot, None)
    if slot.unique:
        await commands.put(slot.docket, slot.redis_key, value, slot.ttl)
        return Reservation(slot, value)
    return (await reserve_many([slot], [value]))[0]


async def reserve_many(slots: Sequence[Slot], values: Sequence[bytes]) -> list[Reservation]:
    """As :func:`reserve` for tasks of one docket, in one round trip but for those whose slot is taken."""
    if not slots:
        return []
    # of two tasks with one key, the first is the one that Docket will schedule
    first = {slot.redis_key: (slot, value) for slot, value in reversed(list(zip(slots, values, strict=True)))}
    entries = [(key, value, slot.ttl) for key, (slot, value) in first.items()]
    free = dict(zip(first, await commands.put_new(slots[0].docket, entries), strict=True))
    reservations: list[Reservation] = []
    for slot, value in zip(slots, values, strict=True):
        if slot is not first[slot.redis_key][0]:
            reservations.append(Reservation(slot, value, _Standing.THEIRS))
        elif free[slot.redis_key]:
            reservations.append(Reservation(slot, value))
        else:
            reservations.append(await _reserve_contested(slot, value))
    return reservations


async def reserve_over(slot: Slot, value: bytes | None) -> Reservation:
    """Store a snapshot for a task that replaces what is scheduled under its key, to be put back if it does not."""
    while True:
        previous, run = await commands.look(slot.docket, slot.redis_key, slot.task_key)
        expected = None if previous is None else previous.value
        reservation = Reservation(slot, value, _Standing.TAKEN_OVER, previous, run.generation)
        try:
            if await commands.compare_and_set(slot.docket, slot.redis_key, expected, value, slot.ttl):
                return reservation
        except BaseException:
            # no answer, or nobody to hear it: the server may have done it all the same
            await reservation.abandon()
            raise


async def _reserve_contested(slot: Slot, value: bytes | None) -> Reservation:
    """There is a snapshot in the slot: of a live task, of one that ended, or of one about to be scheduled."""
    while True:
        stored, run = await commands.look(slot.docket, slot.redis_key, slot.task_key)
        if run.live:
            return Reservation(slot, value, _Standing.THEIRS)
        if stored is not None and _is_in_flight(stored, slot):
            await asyncio.sleep(POLL_INTERVAL)
            continue
        expected = None if stored is None else stored.value
        if await commands.compare_and_set(slot.docket, slot.redis_key, expected, value, slot.ttl):
            return Reservation(slot, value, _Standing.TAKEN_OVER, stored)


def _is_in_flight(stored: Stored, slot: Slot) -> bool:
    """Whether a snapshot was stored just now, by the server's own clock.  One that cannot be read was not."""
    try:
        record = parse_record(codec_for(current_settings()).decode(stored.value, slot.redis_key))
    except SnapshotError:
        return False
    return record.ttl is not None and record.ttl - stored.ttl < IN_FLIGHT
