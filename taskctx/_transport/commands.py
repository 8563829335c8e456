"""Redis commands: each operation on a snapshot, alone and with others.

The commands are those that Redis, Valkey, a cluster of them and ``memory://`` (burner-redis) have in common, and each
operation that is sent twice does what it does once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple, cast

from .batch import Kind, Operation, Pipeline, Replies, Script, Value
from .connection import Connection


class Stored(NamedTuple):
    """A value with the seconds it has left, read together; None where the server refuses to say.

    It is a view, for the sake of frames: see ``batch.Value``.
    """

    value: memoryview
    ttl: int | None


class TaskState(Enum):
    """What Docket knows of a task key."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"


LIVE = (TaskState.PENDING, TaskState.RUNNING)
"""The states of a task that is to run or runs."""


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """Docket's record of a task key.

    Attributes:
        due: seconds since the epoch.
        generation: which submission, retry or perpetuation of the key it is.
        known: Docket holds the key for it.  A task parked at a concurrency limit is pending and yet gives way.
    """

    state: TaskState
    due: float = 0.0
    generation: int = 0
    known: bool = False

    @property
    def live(self) -> bool:
        """Docket would answer ALREADY_SCHEDULED to another ``add``."""
        return self.known or self.state is TaskState.RUNNING


async def put(connection: Connection, key: str, value: Value, ttl: int) -> None:
    """Store a value for ``ttl`` seconds, over whatever was there."""
    await connection.run(Operation(_PUT, (key,), (value, str(ttl))), len(value))


async def put_new(connection: Connection, key: str, value: Value, ttl: int) -> bool:
    """Store a value for ``ttl`` seconds where there is none yet; says whether it is there now."""
    # the answer may be lost and the command sent again: what counts is what is there
    _, there = await connection.run(Operation(_PUT_NEW, (key,), (value, str(ttl))), len(value))
    return there == value


async def put_all_new(connection: Connection, entries: Sequence[tuple[str, Value, int]]) -> list[bool]:
    """As :func:`put_new`, for each ``(key, value, ttl)``, in one round trip."""
    answers = await connection.run_all([Operation(_PUT_NEW, (key,), (value, str(ttl))) for key, value, ttl in entries])
    return [there == value for (_, there), (_, value, _) in zip(answers, entries, strict=True)]


async def fetch(connection: Connection, key: str, *, renew_to: int | None = None) -> Stored | None:
    """The value under a key and the seconds it had left; ``renew_to`` makes that at least so many, afterwards.

    Where the server refuses to say what is left, ``renew_to`` makes it so many.
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
    """What is stored under a key, and what Docket knows of the task."""
    value, ttl, *record = await connection.run(Operation(_LOOK, (key, record_key)))
    return None if value is None else Stored(memoryview(value), ttl), _task_record(record)


async def compare_and_set(
    connection: Connection, key: str, expected: Value | None, value: Value | None, ttl: int = 1
) -> bool:
    """Put ``value`` (None: nothing) where ``expected`` (None: nothing) is; False when something else is there."""
    arguments = (expected or b"", value or b"", str(ttl))
    size = len(arguments[0]) + len(arguments[1])
    (done,) = await connection.run(Operation(_COMPARE_AND_SET, (key,), arguments), size)
    return bool(done)


async def expire(connection: Connection, key: str, ttl: int) -> None:
    """Give a value ``ttl`` seconds from now."""
    await connection.run(Operation(_EXPIRE, (key,), (str(ttl),)))


async def expire_unless_superseded(
    connection: Connection, key: str, ttl: int, record_key: str, generation: int
) -> None:
    """Give a value ``ttl`` seconds from now, unless Docket's record of the task is of a later generation than this."""
    if connection.in_process:
        # a script of burner-redis's takes a hundred times as long as two commands, between which nothing else runs
        record = await record_of(connection, record_key)
        if not 0 < generation < record.generation:
            await expire(connection, key, ttl)
        return
    await connection.run(Operation(_EXPIRE_UNLESS_SUPERSEDED, (key, record_key), (str(ttl), str(generation))))


async def expire_and_look(connection: Connection, key: str, ttl: int, record_key: str) -> TaskRecord:
    """Give a value ``ttl`` seconds from now; says what Docket knew of the task after that."""
    _, *record = await connection.run(Operation(_EXPIRE_AND_LOOK, (key, record_key), (str(ttl),)))
    return _task_record(record)


async def life_of(connection: Connection, key: str, record_key: str) -> tuple[int, TaskRecord]:
    """The seconds that a value has left (negative: none, no end, or unknown), and what Docket knows of the task."""
    ttl, *record = await connection.run(Operation(_LIFE_OF, (key, record_key)))
    return -1 if ttl is None else ttl, _task_record(record)


async def record_of(connection: Connection, record_key: str) -> TaskRecord:
    """What Docket knows of a task key."""
    return _task_record(await connection.run(Operation(_RECORD_OF, (record_key,))))


_RECORD_FIELDS = ("state", "known", "when", "generation")
"""Docket has no call for them that does not unpickle the task's arguments (held by tests/upstream/test_docket.py)."""


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


# How each operation's commands are put into a pipeline.


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


# Scripts.  Those that do many get the keys of all operations, and then the arguments of all.

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
