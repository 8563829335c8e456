"""Redis commands: the only module that knows them.

They are those that Redis, Valkey, a cluster of them and ``memory://`` (burner-redis) have in common, and each that is
sent twice does what it does once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, NamedTuple, cast

from docket import Docket

from .backend import PerDocket, call, run
from .bulk import Bulk, Command, Pipeline

CLOCK_CHECK_INTERVAL = 60.0
"""Seconds after which a process compares its clock with the server's again."""

_COMPARE_AND_SET = """
local current = redis.call('GET', KEYS[1])
if current == ARGV[2] then return 1 end
if (current or '') ~= ARGV[1] then return 0 end
if ARGV[2] == '' then
    redis.call('DEL', KEYS[1])
else
    redis.call('SET', KEYS[1], ARGV[2], 'EX', tonumber(ARGV[3]))
end
return 1
"""


_SET_EACH = """
local answers = {}
for i = 1, #KEYS do
    answers[i] = {redis.pcall('SET', KEYS[i], ARGV[2 * i - 1], 'EX', ARGV[2 * i])}
end
return answers
"""

_GET_EACH = """
local answers = {}
for i = 1, #KEYS do
    answers[i] = {redis.pcall('GET', KEYS[i]), redis.pcall('TTL', KEYS[i])}
end
return answers
"""

_EXPIRE_EACH_UNLESS_SUPERSEDED = """
local answers = {}
for i = 1, #KEYS, 2 do
    local ours, generation = tonumber(ARGV[i + 1]), redis.pcall('HGET', KEYS[i + 1], 'generation')
    if type(generation) == 'table' then
        answers[#answers + 1] = {generation}
    elseif ours > 0 and generation and tonumber(generation) > ours then
        answers[#answers + 1] = {0}
    else
        answers[#answers + 1] = {redis.pcall('EXPIRE', KEYS[i], ARGV[i])}
    end
end
return answers
"""


class Stored(NamedTuple):
    """A value with the seconds it has left, read together."""

    value: bytes
    ttl: int


class RunState(Enum):
    """What Docket knows of a task key."""

    UNKNOWN = "unknown"
    PENDING = "pending"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Run:
    """Docket's record of a task key.

    Attributes:
        due: seconds since the epoch.
        generation: which submission, retry or perpetuation of the key it is.
        known: Docket holds the key for it.  A run parked at a concurrency limit is pending and yet gives way.
    """

    state: RunState
    due: float = 0.0
    generation: int = 0
    known: bool = False

    @property
    def live(self) -> bool:
        """Docket would answer ALREADY_SCHEDULED to another ``add``."""
        return self.known or self.state is RunState.RUNNING


async def put(docket: Docket, key: str, value: bytes, ttl: int) -> None:
    """Store a value for ``ttl`` seconds, over whatever was there."""
    command = partial(_set, key, value, ttl)
    await run(docket, Bulk(_SET_EACH, (key,), (value, str(ttl)), (command,)), size=len(value))


async def put_new(docket: Docket, entries: Sequence[tuple[str, bytes, int]]) -> list[bool]:
    """Store each ``(key, value, ttl)`` where there is no value yet; says for each whether its own is there now."""
    commands: list[Command] = []
    for key, value, ttl in entries:
        # an answer may be lost and the command sent again: what counts is what is there
        commands += [partial(_set_new, key, value, ttl), partial(_get, key)]
    replies = await run(docket, *commands, size=sum(len(value) for _, value, _ in entries))
    return [reply == value for reply, (_, value, _) in zip(replies[1::2], entries, strict=True)]


async def fetch(docket: Docket, key: str, *, renew_to: int | None = None) -> Stored | None:
    """The value under a key and the seconds it had left; ``renew_to`` makes that at least so many, afterwards."""
    commands: list[Command] = [partial(_get, key), partial(_ttl, key)]
    if renew_to is None:
        ((value, ttl),) = await run(docket, Bulk(_GET_EACH, (key,), (), tuple(commands)))
    else:
        value, ttl, _ = await run(docket, *commands, lambda pipeline: pipeline.expire(key, renew_to))
    if value is None:
        return None
    if renew_to is not None and ttl > renew_to:
        await expire(docket, key, ttl)
    return Stored(value, ttl)


async def look(docket: Docket, key: str, task_key: str) -> tuple[Stored | None, Run]:
    """What is stored under a key, and what Docket knows of the task."""
    value, ttl, *found = await run(docket, partial(_get, key), partial(_ttl, key), *_ask_run(docket, task_key))
    return None if value is None else Stored(value, ttl), _read_run(found)


async def compare_and_set(docket: Docket, key: str, expected: bytes | None, value: bytes | None, ttl: int = 1) -> bool:
    """Put ``value`` (None: nothing) where ``expected`` (None: nothing) is; False when something else is there."""
    arguments = (key, expected or b"", value or b"", str(ttl))
    size = len(arguments[1]) + len(arguments[2])
    (reply,) = await run(docket, lambda pipeline: pipeline.eval(_COMPARE_AND_SET, 1, *arguments), size=size)
    return bool(reply)


async def expire(docket: Docket, key: str, ttl: int) -> None:
    """Give a value ``ttl`` seconds from now."""
    await run(docket, lambda pipeline: pipeline.expire(key, ttl))


async def expire_unless_superseded(docket: Docket, key: str, ttl: int, task_key: str, generation: int) -> None:
    """Give a value ``ttl`` seconds from now, unless Docket's record of the task is of a later generation than this."""
    keys, arguments = (key, docket.runs_key(task_key)), (str(ttl), str(generation))
    command = partial(_eval, _EXPIRE_EACH_UNLESS_SUPERSEDED, keys, arguments)
    await run(docket, Bulk(_EXPIRE_EACH_UNLESS_SUPERSEDED, keys, arguments, (command,)))


async def expire_and_look(docket: Docket, key: str, ttl: int, task_key: str) -> Run:
    """Give a value ``ttl`` seconds from now; says what Docket knew of the task after that."""
    _, *found = await run(docket, lambda pipeline: pipeline.expire(key, ttl), *_ask_run(docket, task_key))
    return _read_run(found)


async def life_of(docket: Docket, key: str, task_key: str) -> tuple[int, Run]:
    """The seconds that a value has left (negative: none, or no end), and what Docket knows of the task."""
    ttl, *found = await run(docket, partial(_ttl, key), *_ask_run(docket, task_key))
    return ttl, _read_run(found)


async def run_of(docket: Docket, task_key: str) -> Run:
    """What Docket knows of a task key."""
    return _read_run(await run(docket, *_ask_run(docket, task_key)))


async def server_time(docket: Docket) -> float:
    """Now, seconds since the epoch, by the server's clock: what two hosts can compare.

    One round trip a minute for each docket; in between, this process's clock with the difference found then.
    """
    clock = _clocks.of(docket)
    if clock.is_due:
        # one asks, and the others wait for the answer
        async with clock.asking:
            if clock.is_due:
                clock.offset = await call(docket, _measure_offset)
                clock.check_at = time.monotonic() + CLOCK_CHECK_INTERVAL
    return time.time() + clock.offset


@dataclass(slots=True)
class _Clock:
    offset: float = 0.0
    check_at: float = field(default_factory=time.monotonic)
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_due(self) -> bool:
        return time.monotonic() >= self.check_at


_clocks = PerDocket(_Clock)


async def _measure_offset(client: Any) -> float:
    """Seconds by which the server's clock is ahead of ours."""
    ask = cast("Callable[[], Awaitable[Any]] | None", getattr(client, "time", None))
    if ask is None:
        return 0.0  # memory:// is this process
    before = time.time()
    answer = await ask()
    after = time.time()
    if isinstance(answer, dict):
        # a cluster answers for each of its nodes
        answer = next(iter(cast("dict[str, Any]", answer).values()))
    seconds, microseconds = answer
    return seconds + microseconds / 1_000_000 - (before + after) / 2


def _get(key: str, pipeline: Pipeline) -> object:
    return pipeline.get(key)


def _ttl(key: str, pipeline: Pipeline) -> object:
    return pipeline.ttl(key)


def _set(key: str, value: bytes, ttl: int, pipeline: Pipeline) -> object:
    return pipeline.set(key, value, ex=ttl)


def _eval(script: str, keys: Sequence[str], arguments: Sequence[str], pipeline: Pipeline) -> object:
    return pipeline.eval(script, len(keys), *keys, *arguments)


def _set_new(key: str, value: bytes, ttl: int, pipeline: Pipeline) -> object:
    return pipeline.set(key, value, ex=ttl, nx=True)


def _ask_run(docket: Docket, task_key: str) -> list[Command]:
    # Docket has no call for this that does not unpickle the task's arguments; the record's fields are held by
    # tests/upstream/test_docket.py.
    record = docket.runs_key(task_key)
    return [partial(_hget, record, name) for name in ("state", "known", "when", "generation")]


def _hget(key: str, name: str, pipeline: Pipeline) -> object:
    return pipeline.hget(key, name)


def _read_run(replies: Sequence[bytes | None]) -> Run:
    state, known, when, generation = replies
    match state:
        case None:
            found = RunState.UNKNOWN
        case b"scheduled" | b"queued":
            found = RunState.PENDING
        case b"running":
            found = RunState.RUNNING
        case _:
            found = RunState.ENDED
    return Run(found, float(when or 0), int(generation or 0), known is not None)
