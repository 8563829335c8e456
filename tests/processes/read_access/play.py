"""One run: a server, submitters, workers and a Valkey of their own, tasks of every fate, and an attacker who reads."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from taskctx._snapshot.codec import PlaintextCodec, SealingCodec, SnapshotCodec
from taskctx.cli.processes import free_port
from taskctx.settings.keyring import generate_key, parse_keyring
from tests.conftest import running_valkey
from tests.processes.read_access import attacker
from tests.processes.read_access.submit import DAMAGED
from tests.processes.read_access.words import CALLERS, DOCKET, FOREIGN_DOCKET, KEY_ID, Caller, shown, task_id
from tests.processes.support import ROOT, Process, Starter
from tests.secrets import secret

REQUESTS = 4
"""Of each caller, to each of the server's ways."""

ADA, BOB, *_ = CALLERS


@dataclass(frozen=True)
class Keys:
    """The keyring of a run, as in the environment; None: no keys."""

    ring: str | None
    foreign: str | None

    @classmethod
    def fresh(cls) -> Keys:
        return cls(f"{KEY_ID}:{generate_key()},old:{generate_key()}", f"foreign:{generate_key()}")

    @property
    def codec(self) -> SnapshotCodec:
        if self.ring is None:
            return PlaintextCodec()
        return SealingCodec(parse_keyring(self.ring), accept_plaintext=True)

    @property
    def words(self) -> dict[str, bytes]:
        """The key material, to be searched for."""
        rings = [parse_keyring(ring).keys for ring in (self.ring, self.foreign) if ring]
        return {f"key {key_id}": key for ring in rings for key_id, key in ring.items()}


NO_KEYS = Keys(None, None)


@dataclass(frozen=True)
class Readings:
    """What the attacker has, by where it comes from."""

    redis: dict[str, bytes]
    spans: bytes
    metrics: bytes
    logs: bytes
    processes: bytes
    states: set[str]
    snapshots: dict[str, bytes]

    def counted(self, metric: str, label: str) -> set[str]:
        """The values of a label for which a counter is above 0 in some process."""
        pattern = rf'^{metric}{{(?:[^}}]*,)?{label}="(\w+)"[^}}]*}} (?!0\.0)'
        return set(re.findall(pattern, self.metrics.decode(), re.MULTILINE))


@dataclass
class Play:
    """The processes of a run."""

    starter: Starter
    url: str
    keys: Keys

    def start(self, *command: str, ring: str | None, **environment: str) -> Process:
        variables = {"DOCKET_URL": self.url, "EMITTED": str(self.starter.directory), "PYTHONASYNCIODEBUG": "1"}
        variables |= {"TASKCTX_ENCRYPTION_KEYS": ring} if ring else {}
        return self.starter([sys.executable, "-m", *command], cwd=ROOT, **(variables | environment))

    def worker(self, docket: str, ring: str | None, *options: str, **environment: str) -> int:
        """Start a worker, and return the port of its metrics."""
        port = free_port()
        command = ["docket", "worker", "--docket", docket, "--url", self.url, "--name", shown("worker")]
        command += ["--tasks", "tests.processes.read_access.tasks:collection"]
        command += ["--dependencies", "taskctx:worker_dependencies", "--metrics-port", str(port)]
        command += ["--logging-level", "DEBUG", *options]
        self.start(*command, ring=ring, ROLE="worker", **environment)
        return port

    def server(self) -> int:
        port = free_port()
        command = ["uvicorn", "tests.processes.read_access.server:app", "--port", str(port), "--log-level", "debug"]
        self.start(*command, ring=self.keys.ring)
        _until(lambda: _answers(port))
        return port

    def submitter(self, phase: str) -> Process:
        return self.start("tests.processes.read_access.submit", phase, ring=self.keys.ring)


def play(directory: Path, keys: Keys) -> Readings:
    with ExitStack() as stack:
        valkey = stack.enter_context(running_valkey())
        redis = stack.enter_context(attacker.connect(valkey.connection_url))
        attacker.make_all_readable(redis)
        commands = stack.enter_context(attacker.wiretap(valkey.port, b"MONITOR"))
        channels = stack.enter_context(attacker.wiretap(valkey.port, b"PSUBSCRIBE *"))
        starter = stack.enter_context(Starter(directory))
        run = Play(starter, valkey.connection_url, keys)

        server = run.server()
        _succeeds(run.submitter("doomed"))
        snapshots = {key.decode(): redis.get(key) for key in redis.keys("*:snapshot")}
        _damage(redis, keys.codec)
        workers = [
            run.worker(DOCKET, keys.ring),
            run.worker(DOCKET, keys.ring, "--enable-internal-instrumentation", TASKCTX_TRACE_MODE="parent"),
            run.worker(FOREIGN_DOCKET, keys.foreign),
        ]
        wrong = run.start("tests.processes.read_access.submit", "live", ring=f"id:{secret('token')}")
        submitter = run.submitter("live")
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(partial(_request, server), _requests()))
        processes = attacker.process_list(each.pid for each in starter.started if not each.ended)
        _succeeds(submitter)
        assert wrong.popen.wait(60) != 0
        _until(lambda: _drained(redis), 60)

        metrics = [attacker.scrape(port) for port in (*workers, server)]
        readings = attacker.read_server(redis, valkey.data_dir, commands, channels)
        states = {state.decode() for key in redis.keys("*:runs:*") if (state := redis.hget(key, "state"))}
        starter.stop()
        metrics += [path.read_bytes() for path in directory.glob("*.metrics")]
        return Readings(
            redis=readings,
            spans=b"\n".join(path.read_bytes() for path in directory.glob("*.spans")),
            metrics=b"\n".join(metrics),
            logs=b"\n".join(process.log.read_bytes() for process in starter.started),
            processes=processes,
            states=states,
            snapshots=snapshots,
        )


def _damage(redis: Any, codec: SnapshotCodec) -> None:
    """See that each of the doomed tasks is restored with another failure."""
    for name in DAMAGED:
        (key,) = redis.keys(f"*:{task_id(name)}:snapshot")
        value, place = redis.get(key), key.decode()

        def sealed(place: str = place, value: bytes = value, **fields: object) -> bytes:
            return codec.encode(json.dumps(json.loads(codec.decode(value, place)) | fields).encode(), place)

        damaged: dict[str, Callable[[], bytes]] = {
            "tampered": lambda value=value: value[:-1] + bytes((value[-1] ^ 1,)),
            "malformed": lambda place=place: codec.encode(f'{{"session_id": "{secret("session")}'.encode(), place),
            "wrong-fields": lambda sealed=sealed: sealed(http_headers={"x-tenant": [secret("tenant")]}),
            "wrong-token": lambda sealed=sealed: sealed(access_token_json=json.dumps({"token": secret("token")})),
            "plaintext": lambda: b'{"session_id": null}',
            "schema": lambda sealed=sealed: sealed(schema_version=99, session_id=[secret("session")]),
            "mismatch": lambda sealed=sealed: sealed(access_token_json=_mismatched()),
        }
        redis.delete(key)
        if name == "wrong-type":
            redis.rpush(key, "a list")
            redis.expire(key, 3600)
        elif name != "missing":
            redis.set(key, damaged[name](), ex=3600)


def _mismatched() -> str:
    return BOB.token().model_copy(update={"token": secret("mismatched")}).model_dump_json()


def _requests() -> list[tuple[Caller, str]]:
    ways = ["by-user", "by-token"] * REQUESTS
    return [(caller, way) for way in ways for caller in CALLERS] + [(ADA, "breaking")]


def _request(port: int, request: tuple[Caller, str]) -> None:
    caller, way = request
    answer = httpx.post(f"http://127.0.0.1:{port}/{way}", headers=caller.headers(), timeout=30)
    assert answer.status_code == (500 if way == "breaking" else 202)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/metrics").is_success
    except httpx.TransportError:
        return False


def _drained(redis: Any) -> bool:
    """Nothing waits and nothing runs."""
    waiting = sum(
        redis.xlen(f"{docket}:stream") + redis.zcard(f"{docket}:queue") for docket in (DOCKET, FOREIGN_DOCKET)
    )
    return not waiting


def _succeeds(process: Process) -> None:
    assert process.popen.wait(90) == 0, "a submitter failed; its log is in the test's directory"


def _until(condition: Callable[[], object], timeout: float = 30) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
