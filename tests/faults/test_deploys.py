"""Processes of different versions and keyrings side by side, as while one deploys."""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import sys

import pytest
from redis.asyncio import Redis

from taskctx._snapshot.codec import SealingCodec
from taskctx.settings.keyring import generate_key, parse_keyring
from tests.faults.case import MANY, PATIENT, SETTLING, Case, Worker
from tests.faults.ledger import Ledger
from tests.faults.newer import SCHEMA
from tests.processes.support import Process, scrape, value

pytestmark = pytest.mark.faults

NEWER = (sys.executable, "-m", "tests.faults.newer")
ADDITIVE, INCOMPATIBLE = {SCHEMA: "1"}, {SCHEMA: "2"}

KEYS = "TASKCTX_ENCRYPTION_KEYS"
FIRST, SECOND = f"first:{generate_key()}", f"second:{generate_key()}"
ENOUGH = 20
"""Refusals that show that a fault bites."""


def all_ran(ledger: Ledger) -> bool:
    return all(fate.ended for fate in ledger.fates.values() if fate.accepted)


async def test_additive_schema(case: Case) -> None:
    """A newer taskctx with more fields, beside this one.

    Each reads what the other wrote.
    """
    workers = [await case.worker(), await case.worker(command=NEWER, **ADDITIVE)]
    await case.done(case.submitter(200), case.submitter(200, first=200, command=NEWER, environment=ADDITIVE))
    row = await case.verdict()
    assert row.restores_failed == row.saves_refused == {}
    assert row.ran == 400
    for ran in [case.ledger.ran_by[worker.process.pid] for worker in workers]:
        assert min(ran) < 200 <= max(ran), "one of them ran what only one of them submitted"
    assert sum(b"of_the_future" in record for record in await records(case)) == 200


async def test_incompatible_schema(case: Case) -> None:
    """Old workers meet snapshots of a newer taskctx that they cannot read.

    This one's workers refuse them; a newer worker runs every task in the end, old and new.
    """
    await case.done(
        case.submitter(100, function="persistent_work"),
        case.submitter(100, first=100, function="persistent_work", command=NEWER, environment=INCOMPATIBLE),
    )
    old = await case.worker()
    await case.until(lambda ledger: ledger.failed_restores(old.process.pid).total() >= ENOUGH)
    new = await case.worker(command=NEWER, **INCOMPATIBLE)
    await case.done(case.submitter(100, first=200, function="persistent_work"))
    await case.until(all_ran, timeout=SETTLING)
    row = await case.verdict()
    assert row.saves_refused == {}
    assert row.ran == 300
    assert set(case.ledger.failed_restores(old.process.pid)) == {"schema_unsupported"}
    assert not case.ledger.failed_restores(new.process.pid)
    assert case.ledger.ran_by[new.process.pid] >= set(range(100, 200))


async def test_keyrings(case: Case) -> None:
    """Workers without the new key, and without any.

    They refuse what it seals; the worker that has it runs every task in the end.
    """
    case.environment[KEYS] = f"{SECOND},{FIRST}"
    await case.done(case.submitter(200, function="persistent_work"))
    without_new = await case.worker(**{KEYS: FIRST})
    del case.environment[KEYS]
    without_any = await case.worker()
    ignorant = [worker.process.pid for worker in (without_new, without_any)]
    await case.until(lambda ledger: all(ledger.failed_restores(pid).total() >= ENOUGH for pid in ignorant))
    knowing = await case.worker(**{KEYS: f"{SECOND},{FIRST}"})
    await case.until(all_ran, timeout=SETTLING)
    row = await case.verdict()
    assert row.saves_refused == {}
    assert row.ran == 200
    assert all(set(case.ledger.failed_restores(pid)) == {"decrypt_unknown_key"} for pid in ignorant)
    assert case.ledger.ran_by[knowing.process.pid] == set(range(200))


async def test_rotation_under_load(case: Case) -> None:
    """Plaintext, first key, second key: a whole rotation under load.

    Processes are restarted in the order that the README gives, old and new side by side; nothing is refused on the way.
    """
    fleet = Fleet(case)
    await fleet.worker()
    plain = await fleet.submitter()
    await fleet.worker(keys=FIRST, accept_plaintext="true")
    await fleet.submitter(keys=FIRST)
    await fleet.drained(plain)
    await fleet.worker(keys=FIRST)
    await fleet.worker(keys=f"{FIRST},{SECOND}")
    first = await fleet.submitter(keys=f"{FIRST},{SECOND}")
    await fleet.worker(keys=f"{SECOND},{FIRST}")
    await fleet.submitter(keys=f"{SECOND},{FIRST}")
    await fleet.drained(first)
    opened = fleet.opened("first")
    await fleet.some_more_run()
    assert fleet.opened("first") == opened > 0, "the metric by which one knows that a key has done its work"
    await fleet.worker(keys=SECOND)
    await fleet.submitter(keys=SECOND)
    await fleet.stop()
    row = await case.verdict()
    assert row.restores_failed == row.saves_refused == {}
    assert row.ran == case.ledger.accepted


class Fleet:
    """A worker and a submitter that are replaced under load: the new one comes, both are at work, the old one goes."""

    def __init__(self, case: Case) -> None:
        self._case = case
        del case.environment[KEYS]
        case.environment |= PATIENT | {"TASKCTX_ON_RESTORE_FAILURE": "fail"}
        self._worker: Worker | None = None
        self._submitter: Process | None = None
        self._next = 0

    async def worker(self, **settings: str) -> None:
        """Put another worker in the old one's place."""
        new = await self._case.worker(**_variables(settings))
        old, self._worker = self._worker, new
        if old is not None:
            await self.some_more_run()
            await self._case.retire(old)

    async def submitter(self, **settings: str) -> range:
        """Put another submitter in the old one's place; gives the numbers of the new one's tasks."""
        numbers = range(self._next, self._next + MANY)
        self._next = numbers.stop
        load = self._case.submitter(
            MANY, first=numbers.start, pause=0.2, seconds=0.05, environment=_variables(settings)
        )
        old, self._submitter = self._submitter, load
        await self._case.until(lambda ledger: any(number in ledger.fates for number in numbers))
        if old is not None:
            await self._case.finish(old)
        await self.some_more_run()
        return numbers

    async def some_more_run(self) -> None:
        """Wait until the worker has run a few tasks more."""
        assert self._worker is not None
        ran = self._case.ledger.ran_by[self._worker.process.pid]
        enough = len(ran) + 10
        await self._case.until(lambda _: len(ran) >= enough)

    async def drained(self, numbers: range) -> None:
        """Wait until all of these tasks that were submitted have run."""
        await self._case.until(
            lambda ledger: all(fate.ended for number, fate in ledger.fates.items() if number in numbers)
        )

    def opened(self, key_id: str) -> float:
        """Snapshots that the worker opened with this key, as its metrics have it."""
        assert self._worker is not None
        families = scrape(self._worker.port)
        return value(families, "taskctx_crypto_operations_total", operation="open", key_id=key_id, outcome="ok") or 0

    async def stop(self) -> None:
        assert self._submitter is not None
        await self._case.finish(self._submitter)


def _variables(settings: dict[str, str]) -> dict[str, str]:
    names = {"keys": KEYS, "accept_plaintext": "TASKCTX_ACCEPT_PLAINTEXT"}
    return {names[name]: text for name, text in settings.items()}


async def records(case: Case) -> list[bytes]:
    """The JSON of every snapshot."""
    keyring = parse_keyring(case.environment[KEYS])
    codec = SealingCodec(keyring, accept_plaintext=False)
    async with Redis.from_url(case.url) as redis:
        stored = [(key, await redis.get(key)) for key in await case.ttls()]
    return [codec.decode(text, key) for key, text in stored if isinstance(text, bytes)]
