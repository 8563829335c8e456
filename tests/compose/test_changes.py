"""``make compose-check``: what one does to a stack that runs, and what happens to it."""

from __future__ import annotations

import secrets

import pytest

from taskctx.telemetry.names import RESTORES
from tests.compose.stack import PROFILES, Stack
from tests.stack.prometheus import Prometheus

pytestmark = pytest.mark.compose

COUNT = 30
READERS = ("api", "worker-1", "worker-2", "worker-3")
"""Services that read the server's password as they start."""


def ping(stack: Stack, password: str) -> str:
    """What the server answers to it."""
    done = stack.compose("exec", "-T", "--env", f"REDISCLI_AUTH={password}", "valkey", "valkey-cli", "ping")
    return done.stdout + done.stderr


def in_force(stack: Stack, password: str) -> bool:
    """Whether the server takes this password, and all that read it have started with it."""
    check = ("sha256sum", "--check", "--status", "/tmp/secrets.sha256")
    return "PONG" in ping(stack, password) and all(
        stack.compose("exec", "-T", service, *check).returncode == 0 for service in READERS
    )


def test_a_changed_password_is_in_force_soon(stack: Stack) -> None:
    """Put into .env of a stack that runs: ``up`` is all that it takes, and the old one is refused."""
    old, new = stack.secret("valkey/password"), secrets.token_hex(16)
    stack.set(VALKEY_PASSWORD=new)
    stack.done("--profile", "load", "up", "--detach")
    stack.until(lambda: in_force(stack, new), 180, "the new password is in force", stack.unwell)
    assert "WRONGPASS" in ping(stack, old)
    stack.until_healthy()
    assert stack.orders(COUNT) == {"ready": COUNT}


def test_data_and_secrets_outlive_down(stack: Stack) -> None:
    """After ``down`` and ``up`` what was ordered is there, and so are the secrets."""
    kept = {name: stack.secret(name) for name in ("valkey/password", "grafana/admin-password")}
    mark = secrets.token_hex(8)
    auth = ("exec", "-T", "--env", f"REDISCLI_AUTH={kept['valkey/password']}", "valkey", "valkey-cli")
    stack.done(*auth, "set", "reports:mark", mark)
    stack.done(*PROFILES, "down")
    stack.up()
    assert stack.done(*auth, "get", "reports:mark").strip() == mark
    assert {name: stack.secret(name) for name in kept} == kept
    assert stack.orders(COUNT) == {"ready": COUNT}


def test_more_workers_are_found(stack: Stack) -> None:
    """Those of ``--scale`` are scraped, and restore contexts."""
    stack.done("--profile", "scale", "up", "--detach", "--scale", "worker-n=2")
    with stack.client("PROMETHEUS_PORT") as client:
        asked = Prometheus(client)

        def nameless() -> set[str]:
            found = asked.query(f'sum by (instance) ({RESTORES.name}{{job="reports-worker", outcome="ok"}}) > 0')
            return {labels["instance"] for labels, _ in found if not labels["instance"].startswith("worker-")}

        stack.orders(COUNT)
        stack.until(lambda: len(nameless()) == 2, 120, "both are scraped, and have restored", nameless)
    stack.done("--profile", "scale", "rm", "--stop", "--force", "worker-n")


def test_it_comes_back_after_a_power_cut(stack: Stack) -> None:
    """The engine is killed with all that runs on it: with the next start the stack is there, with its data."""
    if not stack.engine.own:
        pytest.skip("the engine is not the check's own")
    password = stack.secret("valkey/password")
    stack.engine.kill()
    stack.engine.start(stack.directory.parent.parent)
    stack.until_healthy()
    assert stack.secret("valkey/password") == password
    assert stack.orders(COUNT) == {"ready": COUNT}
