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
    Target("_snapshot.keys", ("test_keys.py", "contracts/test_identity.py")),
    Target("settings.keyring", ("test_keyring.py", "test_codec.py")),
    Target("_snapshot.record", ("test_record.py",)),
    Target("_caller.headers", ("test_headers.py",)),
    Target("errors", ("test_errors.py", "contracts/test_failure_contract.py")),
    Target("settings.__init__", ("test_settings.py", "test_keyring.py", "test_headers.py")),
    Target("_caller.token", ("test_token.py", "contracts/test_identity.py")),
    Target("_snapshot.codec", ("test_codec.py", "contracts/test_sealed.py")),
    Target("_worker.current_task", ("test_current.py",)),
    Target(
        "_worker.restoration",
        (
            "contracts/test_measured.py",
            "test_current.py",
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
    Target("_transport.deadline", ("test_bounded.py", "test_errors.py")),
    Target("_transport.bulk", ("test_bulk.py",), on_a_server=True),
    Target("_worker.credential", ("contracts/test_refresh.py", "contracts/test_failure_contract.py")),
    Target("_worker.refresh", ("test_refresh.py", "contracts/test_refresh.py")),
    Target(
        "_worker.dependency",
        (
            "test_current.py",
            "contracts/test_lifetime.py",
            "contracts/test_failure_contract.py",
            "contracts/test_attempts.py",
        ),
        on_a_server=True,
    ),
    Target(
        "_worker.rerun",
        ("contracts/test_lifetime.py", "test_snapshot.py", "contracts/test_attempts.py"),
        on_a_server=True,
    ),
    Target("_submit.reservation", ("contracts/test_atomicity.py", "contracts/test_lifetime.py"), on_a_server=True),
)
