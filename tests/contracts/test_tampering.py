"""An attacker who may write to the Redis server but has no key: all attacks on sealed snapshots, as one table.

Each attack is refused by a real worker, with its own reason in the metric, on the span and in the log.  Under ``fail``
the body does not run; under ``continue`` it runs anonymous.  What opens all the same stands at the end.
"""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, field

import pytest
from docket import CurrentExecution, Docket
from docket.execution import Execution
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

import taskctx
from taskctx import Reason
from taskctx._snapshot.codec import FAMILY, MAGIC, NONCE_BYTES, TAG_BYTES, SealingCodec
from taskctx.settings.keyring import generate_key, parse_keyring
from tests.conftest import MakeDocket, make_worker
from tests.contracts.test_failure_contract import Mode, each_mode, failures, our_lines
from tests.helpers import ADA, BOB, BYSTANDER, NOBODY, Caller, Sight, look, redis_key, state, stored
from tests.secrets import MARKER

NEW, OLD = "2026-11", "2026-05"
NEW_KEY, OLD_KEY = f"{NEW}:{generate_key()}", f"{OLD}:{generate_key()}"
KEYS = f"{NEW_KEY},{OLD_KEY}"
CODEC = SealingCodec(parse_keyring(KEYS), accept_plaintext=False)

HEADER = len(MAGIC) + 1 + len(NEW)
"""Bytes before the nonce: magic and version, length of the key id, key id."""

FORGED = json.dumps({"session_id": MARKER, "access_token_json": BOB.token.model_dump_json()}).encode()
OVERSIZED = 50_000_000


@dataclass
class Scene:
    """A docket with tasks that wait, and the attacker's hands on what is stored for them.

    Attributes:
        victim: Ada's task, which every attack finds.
        callers: who submitted each task of the docket, by Docket key.
        hit: Docket keys of the tasks whose stored value the attacker changed.
        seen: what each task saw, by Docket key.
    """

    docket: Docket
    elsewhere: Docket
    registry: CollectorRegistry
    mode: Mode
    victim: Execution = field(init=False)
    callers: dict[str, Caller | None] = field(default_factory=dict[str, Caller | None])
    hit: dict[str, Execution] = field(default_factory=dict[str, Execution])
    seen: dict[str, Sight] = field(default_factory=dict[str, Sight])

    def configure(self, keys: str | None = KEYS, prefix: str = "taskctx") -> None:
        taskctx.configure(registry=self.registry, encryption_keys=keys, key_prefix=prefix, on_restore_failure=self.mode)

    async def submit(self, caller: Caller | None = ADA, task_id: str = "1") -> Execution:
        async def task(execution: Execution = CurrentExecution()) -> None:
            self.seen[execution.key] = look()

        with nullcontext() if caller is None else caller.bound():
            execution = await taskctx.add(self.docket, task, key=task_id)()
        self.callers[execution.key] = caller
        return execution

    async def work(self) -> None:
        with BYSTANDER.bound():
            async with make_worker(self.docket) as worker:
                await worker.run_until_finished()

    async def read(self, execution: Execution) -> bytes:
        value = await stored(self.docket, execution)
        assert value is not None
        return value

    async def write(self, execution: Execution, value: bytes) -> None:
        self.hit[execution.key] = execution
        async with self.docket.redis() as redis:
            await redis.set(redis_key(self.docket, execution.key), value, ex=600)

    async def seal(self, execution: Execution, **fields: object) -> bytes:
        """The bytes that a submitter with a key would store for a task."""
        place = redis_key(self.docket, execution.key)
        plain = json.loads(CODEC.decode(await self.read(execution), place))
        return CODEC.encode(json.dumps(plain | fields).encode(), place)


Attack = Callable[[Scene], Awaitable[None]]


def overwritten(change: Callable[[bytes], bytes]) -> Attack:
    """The victim's value, changed."""

    async def attack(scene: Scene) -> None:
        await scene.write(scene.victim, change(await scene.read(scene.victim)))

    return attack


def flipped(position: int, bit: int = 0) -> Attack:
    return overwritten(lambda value: flip(value, position % len(value), bit))


def flip(value: bytes, position: int, bit: int) -> bytes:
    return value[:position] + bytes((value[position] ^ 1 << bit,)) + value[position + 1 :]


def cut(length: int) -> Attack:
    return overwritten(lambda value: value[:length])


def under_key_id(key_id: bytes) -> Attack:
    """The victim's value, with another key id in its header."""
    return overwritten(lambda value: MAGIC + bytes((len(key_id),)) + key_id + value[HEADER:])


def of_version(magic: bytes) -> Attack:
    return overwritten(lambda value: magic + value[len(MAGIC) :])


def swapped(caller: Caller, task_id: str) -> Attack:
    """The victim's value and that of another task change places."""

    async def attack(scene: Scene) -> None:
        other = await scene.submit(caller, task_id)
        values = await scene.read(scene.victim), await scene.read(other)
        await scene.write(scene.victim, values[1])
        await scene.write(other, values[0])

    return attack


def copied_to(caller: Caller | None, task_id: str) -> Attack:
    """The victim's value in the place of another task's."""

    async def attack(scene: Scene) -> None:
        await scene.write(await scene.submit(caller, task_id), await scene.read(scene.victim))

    return attack


async def nobodys_value(scene: Scene) -> None:
    """From the anonymous task of the same id."""
    await scene.write(scene.victim, await scene.read(await scene.submit(None)))


async def another_dockets_value(scene: Scene) -> None:
    """The same caller's task of the same id, on the same server."""
    with ADA.bound():
        other = await taskctx.add(scene.elsewhere, no_task, key="1")()
    value = await stored(scene.elsewhere, other)
    assert value is not None
    await scene.write(scene.victim, value)


async def another_prefixs_value(scene: Scene) -> None:
    """The same caller's task of the same id, of an application with another ``key_prefix``."""
    scene.configure(prefix="other")
    with ADA.bound():
        await taskctx.TaskContextSnapshot.capture().save(scene.docket, ADA.scope, "1", 60)
    scene.configure()
    async with scene.docket.redis() as redis:
        value = await redis.get(redis_key(scene.docket, scene.victim.key).replace(":taskctx:", ":other:"))
    assert value is not None
    await scene.write(scene.victim, value)


async def a_finished_tasks_value(scene: Scene) -> None:
    """An older value of the same caller's, from a task that is done."""
    value = await scene.read(scene.victim)
    await scene.work()
    await scene.write(await scene.submit(ADA, "2"), value)


async def a_value_of_a_key_rotated_out(scene: Scene) -> None:
    """An earlier value of this very task: a rotation ends its replay."""
    await scene.work()
    scene.configure("retired:" + generate_key())
    replayed = await scene.read(await scene.submit())
    await scene.work()
    scene.configure()
    await scene.write(await scene.submit(), replayed)


async def genuine_plaintext(scene: Scene) -> None:
    """What was stored for the very same submission before there were keys."""
    scene.configure(None)
    with ADA.bound():
        await taskctx.TaskContextSnapshot.capture().save(scene.docket, ADA.scope, "1", 60)
    scene.configure()
    value = await scene.read(scene.victim)
    assert value.startswith(b"{")
    await scene.write(scene.victim, value)


def sealed_with_schema(version: int) -> Attack:
    """Genuine, of a schema that this process does not read."""

    async def attack(scene: Scene) -> None:
        await scene.write(scene.victim, await scene.seal(scene.victim, schema_version=version))

    return attack


async def sealed_for_another_scope(scene: Scene) -> None:
    """Genuine, and in the right place, with another's token in it: a submitter with a key that errs or lies."""
    await scene.write(scene.victim, await scene.seal(scene.victim, access_token_json=BOB.token.model_dump_json()))


async def removed(scene: Scene) -> None:
    await scene.write(scene.victim, b"")
    async with scene.docket.redis() as redis:
        await redis.delete(redis_key(scene.docket, scene.victim.key))


async def a_list(scene: Scene) -> None:
    await removed(scene)
    key = redis_key(scene.docket, scene.victim.key)
    async with scene.docket.redis() as redis:
        await redis.rpush(key, MARKER)  # pyright: ignore[reportGeneralTypeIssues]
        await redis.expire(key, 600)


async def a_hash(scene: Scene) -> None:
    await removed(scene)
    key = redis_key(scene.docket, scene.victim.key)
    async with scene.docket.redis() as redis:
        await redis.hset(key, "session_id", MARKER)  # pyright: ignore[reportGeneralTypeIssues]
        await redis.expire(key, 600)


async def no_task() -> None:
    """Never run here."""


ATTACKS: dict[str, tuple[Attack, Reason]] = {
    "swapped with another task of the caller's": (swapped(ADA, "2"), Reason.DECRYPT_FAILED),
    "swapped with another caller's": (swapped(BOB, "1"), Reason.DECRYPT_FAILED),
    "copied to another task": (copied_to(ADA, "2"), Reason.DECRYPT_FAILED),
    "copied to another scope": (copied_to(BOB, "1"), Reason.DECRYPT_FAILED),
    "copied to nobody": (copied_to(None, "1"), Reason.DECRYPT_FAILED),
    "nobody's": (nobodys_value, Reason.DECRYPT_FAILED),
    "another docket's": (another_dockets_value, Reason.DECRYPT_FAILED),
    "another key_prefix's": (another_prefixs_value, Reason.DECRYPT_FAILED),
    "a finished task's": (a_finished_tasks_value, Reason.DECRYPT_FAILED),
    "earlier, of a key rotated out": (a_value_of_a_key_rotated_out, Reason.DECRYPT_UNKNOWN_KEY),
    "cut in the magic": (cut(2), Reason.MALFORMED),
    "cut after the magic": (cut(len(MAGIC)), Reason.DECRYPT_FAILED),
    "cut in the key id": (cut(HEADER - 1), Reason.DECRYPT_FAILED),
    "cut in the nonce": (cut(HEADER + 3), Reason.DECRYPT_FAILED),
    "cut in the ciphertext": (cut(HEADER + NONCE_BYTES + 30), Reason.DECRYPT_FAILED),
    "cut in the tag": (cut(-1), Reason.DECRYPT_FAILED),
    "a bit of the magic": (flipped(0), Reason.MALFORMED),
    "a bit of the version": (flipped(3, 1), Reason.SCHEMA_UNSUPPORTED),
    "a bit of the key id's length": (flipped(4), Reason.DECRYPT_UNKNOWN_KEY),
    "a bit of the key id": (flipped(HEADER - 1), Reason.DECRYPT_UNKNOWN_KEY),
    "the highest bit of the key id": (flipped(HEADER - 1, 7), Reason.DECRYPT_FAILED),
    "a bit of the nonce": (flipped(HEADER, 7), Reason.DECRYPT_FAILED),
    "a bit of the ciphertext": (flipped(HEADER + NONCE_BYTES), Reason.DECRYPT_FAILED),
    "a bit of the tag": (flipped(-1), Reason.DECRYPT_FAILED),
    "a byte at the end": (overwritten(lambda value: value + b"\0"), Reason.DECRYPT_FAILED),
    "a byte at the start": (overwritten(lambda value: b"\0" + value), Reason.MALFORMED),
    "twice": (overwritten(lambda value: value + value), Reason.DECRYPT_FAILED),
    "under another key's id": (under_key_id(OLD.encode()), Reason.DECRYPT_FAILED),
    "under an unknown id": (under_key_id(MARKER.encode()), Reason.DECRYPT_UNKNOWN_KEY),
    "under no id": (under_key_id(b""), Reason.DECRYPT_FAILED),
    "under the longest id": (under_key_id(b"k" * 255), Reason.DECRYPT_UNKNOWN_KEY),
    "an id that never ends": (
        overwritten(lambda value: MAGIC + b"\xff" + value[len(MAGIC) + 1 :][:200]),
        Reason.DECRYPT_FAILED,
    ),
    "under a key of the attacker's": (
        overwritten(
            lambda _: SealingCodec(parse_keyring(f"{NEW}:{generate_key()}"), accept_plaintext=True).encode(FORGED, "")
        ),
        Reason.DECRYPT_FAILED,
    ),
    "downgraded to what it was without keys": (genuine_plaintext, Reason.PLAINTEXT_REFUSED),
    "downgraded to a forgery": (overwritten(lambda _: FORGED), Reason.PLAINTEXT_REFUSED),
    "version 0": (of_version(b"TCX0"), Reason.SCHEMA_UNSUPPORTED),
    "version 2": (of_version(b"TCX2"), Reason.SCHEMA_UNSUPPORTED),
    "sealed with an older schema": (sealed_with_schema(0), Reason.SCHEMA_UNSUPPORTED),
    "sealed with a newer schema": (sealed_with_schema(99), Reason.SCHEMA_UNSUPPORTED),
    "sealed with another's token": (sealed_for_another_scope, Reason.SCOPE_MISMATCH),
    "another library's ciphertext": (overwritten(lambda _: b"gAAAAABm" + MARKER.encode()), Reason.MALFORMED),
    "emptied": (overwritten(lambda _: b""), Reason.MALFORMED),
    "a list": (a_list, Reason.MALFORMED),
    "a hash": (a_hash, Reason.MALFORMED),
    "removed": (removed, Reason.MISSING),
    "oversized, sealed": (overwritten(lambda value: value + bytes(OVERSIZED)), Reason.DECRYPT_FAILED),
    "oversized, plain": (
        overwritten(lambda _: b'{"session_id": "' + b"x" * OVERSIZED + b'"}'),
        Reason.PLAINTEXT_REFUSED,
    ),
}


@pytest.fixture
async def scene(docket: Docket, make_docket: MakeDocket, registry: CollectorRegistry, mode: Mode) -> Scene:
    scene = Scene(docket, await make_docket(), registry, mode)
    scene.configure()
    scene.victim = await scene.submit()
    return scene


@each_mode
@pytest.mark.parametrize(("attack", "reason"), ATTACKS.values(), ids=ATTACKS)
async def test_an_attack_is_refused_with_its_reason(
    scene: Scene,
    span_exporter: InMemorySpanExporter,
    caplog: pytest.LogCaptureFixture,
    mode: Mode,
    attack: Attack,
    reason: Reason,
) -> None:
    """The tasks that it hit run anonymous or not at all, and the others see their callers as ever."""
    await attack(scene)
    assert scene.hit
    hit = scene.hit
    untouched = {key: caller.sight if caller else NOBODY for key, caller in scene.callers.items() if key not in hit}
    for key in hit:
        scene.seen.pop(key, None)  # of a run before the attack
    span_exporter.clear()
    caplog.clear()

    await scene.work()

    assert scene.seen == untouched | (dict.fromkeys(hit, NOBODY) if mode == "continue" else {})
    ends = {await state(scene.docket, execution) for execution in hit.values()}
    assert ends == {"completed" if mode == "continue" else "failed"}
    assert failures(scene.registry, scene.docket) == {reason: len(hit)}
    restores = [
        dict(span.attributes or {}) for span in span_exporter.get_finished_spans() if span.name == "taskctx.restore"
    ]
    assert [each["error.type"] for each in restores if each["taskctx.outcome"] == "failed"] == [reason] * len(hit)
    [(level, word, text)] = our_lines(caplog)
    assert (level, word) == ("WARNING" if mode == "continue" else "ERROR", reason)
    assert reason.explanation in text


def expected_of(envelope: bytes) -> Reason:
    """The reason that a damaged envelope is refused with, from the layout in the codec's docstring."""
    if not envelope.startswith(MAGIC):
        return Reason.SCHEMA_UNSUPPORTED if envelope.startswith(FAMILY) else Reason.MALFORMED
    length = envelope[len(MAGIC)] if len(envelope) > len(MAGIC) else 0
    key_id, rest = envelope[len(MAGIC) + 1 :][:length], envelope[len(MAGIC) + 1 + length :]
    if not length or len(rest) < NONCE_BYTES + TAG_BYTES or not key_id.isascii():
        return Reason.DECRYPT_FAILED
    return Reason.DECRYPT_FAILED if key_id.decode() in {NEW, OLD} else Reason.DECRYPT_UNKNOWN_KEY


def refusals(envelopes: list[bytes], place: str) -> list[Reason]:
    reasons: list[Reason] = []
    for envelope in envelopes:
        with pytest.raises(taskctx.SnapshotError) as refused:
            CODEC.decode(envelope, place)
        reasons.append(refused.value.reason)
    return reasons


def test_every_bit_and_every_length_of_an_envelope() -> None:
    """Each flip and each truncation is refused with the reason that its region has."""
    place = "docket:taskctx:task:anon:1:snapshot"
    sealed = CODEC.encode(os.urandom(600), place)
    flips = [flip(sealed, position, bit) for position in range(len(sealed)) for bit in range(8)]
    cuts = [sealed[:length] for length in range(len(sealed))]
    assert refusals(flips, place) == [expected_of(envelope) for envelope in flips]
    assert refusals(cuts, place) == [expected_of(envelope) for envelope in cuts]
    assert {expected_of(envelope) for envelope in flips} == {
        Reason.MALFORMED,
        Reason.SCHEMA_UNSUPPORTED,
        Reason.DECRYPT_UNKNOWN_KEY,
        Reason.DECRYPT_FAILED,
    }


# What opens all the same

fails = pytest.mark.parametrize("mode", ["fail"])


@fails
async def test_an_earlier_value_opens_in_its_own_place_only(scene: Scene) -> None:
    """A replay in place: the same task id and scope again.  The task sees its caller as of the earlier submission."""
    earlier = await scene.read(scene.victim)
    await scene.work()
    again, other = await scene.submit(Caller("ada", "request-2")), await scene.submit(ADA, "2")
    await scene.write(again, earlier)
    await scene.write(other, earlier)
    scene.seen.clear()

    await scene.work()

    assert scene.seen == {again.key: ADA.sight}
    assert failures(scene.registry, scene.docket) == {Reason.DECRYPT_FAILED: 1}


@fails
async def test_a_replayed_token_is_no_younger(scene: Scene) -> None:
    """A replay in place does not bring an expired token back."""
    expired = Caller("ada", expires_at=1)
    earlier = await scene.read(await scene.submit(expired, "2"))
    await scene.work()
    again = await scene.submit(ADA, "2")
    await scene.write(again, earlier)
    scene.seen.clear()

    await scene.work()

    assert scene.seen[again.key].token is None
    assert failures(scene.registry, scene.docket)[Reason.CREDENTIAL_EXPIRED] == 2


@fails
async def test_a_value_without_a_ttl_opens_and_gets_one_again(scene: Scene) -> None:
    """Who takes the TTL away changes nothing, and leaves nothing behind."""
    value = await scene.read(scene.victim)
    async with scene.docket.redis() as redis:
        await redis.set(redis_key(scene.docket, scene.victim.key), value)

    await scene.work()

    assert scene.seen == {scene.victim.key: ADA.sight}
    async with scene.docket.redis() as redis:
        assert 0 < await redis.ttl(redis_key(scene.docket, scene.victim.key)) <= 900


@fails
async def test_another_message_under_the_same_key_has_its_context(scene: Scene) -> None:
    """Sealing protects values, not the queue: who can write messages has any function run as a task's caller."""
    seen: list[Sight] = []

    async def other_function() -> None:
        seen.append(look())

    await scene.work()
    await scene.docket.add(other_function, key=scene.victim.key)()
    await scene.work()

    assert seen == [ADA.sight]


@fails
async def test_while_plaintext_is_accepted_a_forgery_of_the_scope_opens(scene: Scene) -> None:
    """A forged plain snapshot is accepted if its token has the scope of the task's key, and refused otherwise."""
    taskctx.configure(registry=scene.registry, encryption_keys=KEYS, accept_plaintext=True)
    other = await scene.submit(ADA, "2")
    await scene.write(scene.victim, FORGED)
    await scene.write(other, json.dumps({"access_token_json": ADA.token.model_dump_json()}).encode())

    await scene.work()

    assert scene.seen == {other.key: Sight(token=ADA.token, scope=ADA.scope)}
    assert failures(scene.registry, scene.docket) == {Reason.SCOPE_MISMATCH: 1}
