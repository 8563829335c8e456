"""Which modules are mutated, and the tests that are to notice: the quick ones first."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """A module, and the tests of it.

    Attributes:
        on_a_server: what survives on ``memory://`` is tried on a real server too.
    """

    module: str
    tests: tuple[str, ...]
    on_a_server: bool = False


TARGETS = (
    Target("_snapshot.keys", ("snapshot/test_keys.py", "contracts/test_identity.py")),
    Target("settings.keyring", ("settings/test_keyring.py", "snapshot/test_codec.py")),
    Target("_snapshot.snapshot", ("snapshot/test_stored.py", "snapshot/test_snapshot.py")),
    Target("_caller.headers", ("caller/test_headers.py",)),
    Target("errors", ("test_errors.py", "contracts/test_failure_contract.py")),
    Target("settings.__init__", ("settings/test_settings.py", "settings/test_keyring.py", "caller/test_headers.py")),
    Target("_caller.token", ("caller/test_token.py", "contracts/test_identity.py")),
    Target("_snapshot.codec", ("snapshot/test_codec.py", "contracts/test_sealed.py")),
    Target("_worker.current_task", ("worker/test_current_task.py",)),
    Target(
        "_worker.restoration",
        (
            "contracts/test_measured.py",
            "worker/test_current_task.py",
            "contracts/test_identity.py",
            "telemetry/test_tracing.py",
            "telemetry/test_metrics.py",
            "contracts/test_failure_contract.py",
            "contracts/test_lifetime.py",
            "contracts/test_isolation.py",
            "contracts/test_sealed.py",
        ),
        on_a_server=True,
    ),
    Target("_transport.deadline", ("transport/test_deadline.py", "test_errors.py")),
    Target("_transport.batch", ("transport/test_batch.py", "transport/test_commands.py"), on_a_server=True),
    Target(
        "_worker.credential",
        ("worker/test_credential.py", "contracts/test_refresh.py", "contracts/test_failure_contract.py"),
    ),
    Target(
        "_worker.dependency",
        (
            "worker/test_current_task.py",
            "contracts/test_lifetime.py",
            "contracts/test_failure_contract.py",
            "contracts/test_attempts.py",
        ),
        on_a_server=True,
    ),
    Target(
        "_worker.afterwards",
        ("contracts/test_lifetime.py", "contracts/test_attempts.py", "contracts/test_failure_contract.py"),
        on_a_server=True,
    ),
    Target(
        "_worker.afterwards",
        ("contracts/test_lifetime.py", "snapshot/test_snapshot.py", "contracts/test_attempts.py"),
        on_a_server=True,
    ),
    Target("_submit.submission", ("contracts/test_atomicity.py", "contracts/test_lifetime.py"), on_a_server=True),
)
