"""Redis commands: each operation on a snapshot, alone and in a batch.

The commands are those that Redis, Valkey, their clusters and ``memory://`` (burner-redis) have in common.  Every
operation is idempotent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, cast

from .batch import Kind, Operation, Pipeline, Replies, Script, Value
from .connection import Connection


class Stored(NamedTuple):
    """A value and its TTL in seconds, read together; the TTL is None where the server refuses to tell it.

    The value is a memoryview, which hides its content from error reporters: see ``batch.Value``.
    """

    value: memoryview
    ttl: int | None


class TaskState(Enum):
    """The state of a task key in Docket's record."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"


LIVE = (TaskState.PENDING, TaskState.RUNNING)
"""The states of a waiting or running task."""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """Docket's record of a task key.

    Attributes:
        due: the time when the task is due, in seconds since the epoch.
        generation: the number of this submission, retry or perpetuation of the key.
        known: Docket reserves the key for the task.  A task that a concurrency limit parked is pending, but its key is
            free.
    """

    state: TaskState
    due: float = 0.0
    generation: int = 0
    known: bool = False

    @property
    def live(self) -> bool:
        """Whether Docket would answer ALREADY_SCHEDULED to another ``add``."""
        return self.known or self.state is TaskState.RUNNING


async def put(connection: Connection, key: str, value: Value, ttl: int) -> None:
    """Store a value for ``ttl`` seconds; an earlier value is overwritten."""
    await connection.run(Operation(_PUT, (key,), (value, str(ttl))), len(value))


async def put_new(connection: Connection, key: str, value: Value, ttl: int) -> bool:
    """Store a value for ``ttl`` seconds if the key is free; returns whether the key holds this value now."""
    # the answer may be lost and the command repeated: so the stored value is compared
    _, there = await connection.run(Operation(_PUT_NEW, (key,), (value, str(ttl))), len(value))
    return there == value


async def put_all_new(connection: Connection, entries: Sequence[tuple[str, Value, int]]) -> list[bool]:
    """Do :func:`put_new` for each ``(key, value, ttl)``, in one round trip."""
    answers = await connection.run_all([Operation(_PUT_NEW, (key,), (value, str(ttl))) for key, value, ttl in entries])
    return [there == value for (_, there), (_, value, _) in zip(answers, entries, strict=True)]


async def fetch(connection: Connection, key: str, *, renew_to: int | None = None) -> Stored | None:
    """The value under a key and its TTL.  Afterwards, ``renew_to`` raises the TTL to at least so many seconds.

    Where the server refuses to tell the TTL, it becomes ``renew_to``, even if it was longer.
    """
    if renew_to is None:
        value, ttl = await connection.run(Operation(_FETCH, (key,)))
        return None if value is None else Stored(memoryview(value), ttl)
    value, ttl, _ = await connection.run(Operation(_FETCH_AND_RENEW, (key,), (str(renew_to),)))
    if value is None:
        return None
    stored = Stored(memoryview(value), ttl)
    del value
    if ttl is not None and ttl > renew_to:
        await expire(connection, key, ttl)
    return stored


async def look(connection: Connection, key: str, record_key: str) -> tuple[Stored | None, TaskRecord]:
    """The value under a key, and Docket's record of the task."""
    value, ttl, *record = await connection.run(Operation(_LOOK, (key, record_key)))
    return None if value is None else Stored(memoryview(value), ttl), _task_record(record)


async def compare_and_set(
    connection: Connection, key: str, expected: Value | None, value: Value | None, ttl: int = 1
) -> bool:
    """Replace ``expected`` by ``value`` (None: no value); False when the key holds another value."""
    arguments = (expected or b"", value or b"", str(ttl))
    size = len(arguments[0]) + len(arguments[1])
    (done,) = await connection.run(Operation(_COMPARE_AND_SET, (key,), arguments), size)
    return bool(done)


async def expire(connection: Connection, key: str, ttl: int) -> None:
    """Set the TTL of a value, in seconds."""
    await connection.run(Operation(_EXPIRE, (key,), (str(ttl),)))


async def expire_unless_superseded(
    connection: Connection, key: str, ttl: int, record_key: str, generation: int
) -> None:
    """Set the TTL of a value, unless Docket's record of the task has a later generation than ``generation``."""
    if connection.in_process:
        # a burner-redis script is a hundred times slower than these two commands, and no other code runs between them
        record = await record_of(connection, record_key)
        if not 0 < generation < record.generation:
            await expire(connection, key, ttl)
        return
    await connection.run(Operation(_EXPIRE_UNLESS_SUPERSEDED, (key, record_key), (str(ttl), str(generation))))


async def expire_and_look(connection: Connection, key: str, ttl: int, record_key: str) -> TaskRecord:
    """Set the TTL of a value; returns Docket's record of the task, read after that."""
    _, *record = await connection.run(Operation(_EXPIRE_AND_LOOK, (key, record_key), (str(ttl),)))
    return _task_record(record)


async def life_of(connection: Connection, key: str, record_key: str) -> tuple[int, TaskRecord]:
    """The TTL of a value (negative: no value, no TTL, or unknown), and Docket's record of the task."""
    ttl, *record = await connection.run(Operation(_LIFE_OF, (key, record_key)))
    return -1 if ttl is None else ttl, _task_record(record)


async def record_of(connection: Connection, record_key: str) -> TaskRecord:
    """Docket's record of a task key, read now."""
    return _task_record(await connection.run(Operation(_RECORD_OF, (record_key,))))


_RECORD_FIELDS = ("state", "known", "when", "generation")
"""Docket's own calls for these fields unpickle the task's arguments too (see tests/upstream/test_docket.py)."""


def _task_record(fields: Replies) -> TaskRecord:
    state, known, when, generation = fields
    return TaskRecord(task_state(state), float(when or 0), int(generation or 0), known is not None)


def task_state(stored: bytes | None) -> TaskState:
    """The state in Docket's record of a task."""
    match stored:
        case None:
            return TaskState.UNKNOWN
        case b"scheduled" | b"queued":
            return TaskState.PENDING
        case b"running":
            return TaskState.RUNNING
        case _:
            return TaskState.ENDED


# These functions put the commands of each operation into a pipeline.


def _put(pipeline: Pipeline, do: Operation) -> Any:
    value, ttl = do.arguments
    return pipeline.set(do.keys[0], cast("Value", value), ex=int(ttl))


def _put_new(pipeline: Pipeline, do: Operation) -> Any:
    value, ttl = do.arguments
    pipeline.set(do.keys[0], cast("Value", value), ex=int(ttl), nx=True)
    return pipeline.get(do.keys[0])


def _fetch(pipeline: Pipeline, do: Operation) -> Any:
    pipeline.get(do.keys[0])
    return pipeline.ttl(do.keys[0])


def _fetch_and_renew(pipeline: Pipeline, do: Operation) -> Any:
    _fetch(pipeline, do)
    return _expire(pipeline, do)


def _look(pipeline: Pipeline, do: Operation) -> Any:
    _fetch(pipeline, do)
    return _record(pipeline, do)


def _compare_and_set(pipeline: Pipeline, do: Operation) -> Any:
    return pipeline.execute_command("EVALSHA", _COMPARE_AND_SET_SCRIPT.sha, 1, *do.keys, *do.arguments)


def _expire(pipeline: Pipeline, do: Operation) -> Any:
    return pipeline.expire(do.keys[0], int(do.arguments[0]))


def _expire_and_look(pipeline: Pipeline, do: Operation) -> Any:
    _expire(pipeline, do)
    return _record(pipeline, do)


def _life_of(pipeline: Pipeline, do: Operation) -> Any:
    pipeline.ttl(do.keys[0])
    return _record(pipeline, do)


def _record(pipeline: Pipeline, do: Operation) -> Any:
    return [pipeline.hget(do.keys[-1], name) for name in _RECORD_FIELDS][-1]


# Scripts.  A script for many operations takes the keys of all operations, and then the arguments of all.

_PUT_SCRIPT = Script(
    """
local answers = {}
for place, key in ipairs(KEYS) do
    local value, ttl = ARGV[2 * place - 1], ARGV[2 * place]
    answers[place] = {redis.pcall('SET', key, value, 'EX', ttl)}
end
return answers
"""
)

_PUT_NEW_SCRIPT = Script(
    """
local answers = {}
for place, key in ipairs(KEYS) do
    local value, ttl = ARGV[2 * place - 1], ARGV[2 * place]
    answers[place] = {redis.pcall('SET', key, value, 'EX', ttl, 'NX'), redis.pcall('GET', key)}
end
return answers
"""
)

_FETCH_SCRIPT = Script(
    """
local answers = {}
for place, key in ipairs(KEYS) do
    answers[place] = {redis.pcall('GET', key), redis.pcall('TTL', key)}
end
return answers
"""
)

_EXPIRE_UNLESS_SUPERSEDED_SCRIPT = Script(
    """
local answers = {}
for place = 1, #KEYS / 2 do
    local key, record = KEYS[2 * place - 1], KEYS[2 * place]
    local ttl, ours = ARGV[2 * place - 1], tonumber(ARGV[2 * place])
    local generation = redis.pcall('HGET', record, 'generation')
    if type(generation) == 'table' then
        answers[place] = {generation}
    elseif ours > 0 and generation and tonumber(generation) > ours then
        answers[place] = {0}
    else
        answers[place] = {redis.pcall('EXPIRE', key, ttl)}
    end
end
return answers
"""
)

_COMPARE_AND_SET_SCRIPT = Script(
    """
local key, expected, value, ttl = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local current = redis.call('GET', key)
if current == value then return 1 end
if (current or '') ~= expected then return 0 end
if value == '' then
    redis.call('DEL', key)
else
    redis.call('SET', key, value, 'EX', tonumber(ttl))
end
return 1
"""
)

_PUT = Kind(_put, script=_PUT_SCRIPT)
_PUT_NEW = Kind(_put_new, replies=2, script=_PUT_NEW_SCRIPT)
_FETCH = Kind(_fetch, replies=2, script=_FETCH_SCRIPT, extra=("TTL", 1))
_FETCH_AND_RENEW = Kind(_fetch_and_renew, replies=3, extra=("TTL", 1))
_LOOK = Kind(_look, replies=2 + len(_RECORD_FIELDS), extra=("TTL", 1))
_COMPARE_AND_SET = Kind(_compare_and_set, alone=_COMPARE_AND_SET_SCRIPT)
_EXPIRE = Kind(_expire)
_EXPIRE_UNLESS_SUPERSEDED = Kind(None, script=_EXPIRE_UNLESS_SUPERSEDED_SCRIPT)
_EXPIRE_AND_LOOK = Kind(_expire_and_look, replies=1 + len(_RECORD_FIELDS))
_LIFE_OF = Kind(_life_of, replies=1 + len(_RECORD_FIELDS), extra=("TTL", 0))
_RECORD_OF = Kind(_record, replies=len(_RECORD_FIELDS))
