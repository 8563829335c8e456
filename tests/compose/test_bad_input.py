"""``make compose-check``: a start that cannot succeed says so, starts nothing, and says what to do."""

from __future__ import annotations

import re
import socket
import subprocess
from collections.abc import Callable

import pytest

from tests.compose.stack import Stack

pytestmark = pytest.mark.compose

Another = Callable[..., Stack]


def refused(stack: Stack) -> str:
    """What the service that looks first says to it; nothing else has been started."""
    assert stack.compose("up", "--detach", seconds=1200).returncode != 0
    started = [each["Name"] for each in stack.containers() if each["State"]["Status"] == "running"]
    assert started == []
    return stack.said("secrets").strip()


def test_a_clone_that_only_its_owner_may_read(another: Another) -> None:
    """As after umask 077: it is refused with the command that helps, and then it starts."""
    stack = another(umask=0o077)
    said = refused(stack)
    found = re.fullmatch(r"the containers cannot read deploy: run (chmod -R \S+( [\w-]+)+)", said)
    assert found, said
    subprocess.run(found[1].split(), cwd=stack.directory, check=True)
    stack.up()
    assert stack.orders(10) == {"ready": 10}


def test_a_secret_that_will_not_do(another: Another) -> None:
    """It is named, and not shown."""
    stack = another()
    stack.set(VALKEY_PASSWORD="short")
    assert refused(stack) == "VALKEY_PASSWORD must have 8 characters or more"


def test_a_port_that_is_taken(another: Another) -> None:
    """``up`` fails and names the port; another one in .env, and it goes on from there."""
    stack = another()
    with socket.create_server(("127.0.0.1", int(stack.settings["PROMETHEUS_PORT"]))):
        done = stack.compose("up", "--detach", seconds=1200)
        assert done.returncode != 0
        assert f"127.0.0.1:{stack.settings['PROMETHEUS_PORT']}" in done.stderr.strip().splitlines()[-1]


def test_an_image_that_cannot_be_had(another: Another) -> None:
    """Without a registry, or with a version that it does not have, ``up`` fails before anything is started."""
    stack = another()
    file = "services:\n  valkey:\n    image: valkey/valkey:0-is-none\n"
    (stack.directory / "docker-compose.override.yml").write_text(file)
    assert stack.compose("up", "--detach", seconds=1200).returncode != 0
    assert [each["Name"] for each in stack.containers() if each["State"]["Status"] == "running"] == []
