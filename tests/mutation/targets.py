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
    Target("_keys", ("test_keys.py", "contracts/test_identity.py")),
    Target("_keyring", ("test_keyring.py", "test_codec.py")),
    Target("_record", ("test_record.py",)),
    Target("_headers", ("test_headers.py",)),
    Target("errors", ("test_errors.py", "contracts/test_failure_contract.py")),
    Target("settings", ("test_settings.py", "test_keyring.py", "test_headers.py")),
    Target("_token", ("test_token.py", "contracts/test_identity.py")),
    Target("_codec", ("test_codec.py", "contracts/test_sealed.py")),
    Target("_current", ("test_current.py",)),
    Target(
        "_restore",
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
    Target("_bounded", ("test_bounded.py", "test_errors.py")),
    Target("_bulk", ("test_bulk.py",), on_a_server=True),
    Target("_credential", ("contracts/test_refresh.py", "contracts/test_failure_contract.py")),
    Target("_refresh", ("test_refresh.py", "contracts/test_refresh.py")),
    Target(
        "_worker",
        (
            "test_current.py",
            "contracts/test_lifetime.py",
            "contracts/test_failure_contract.py",
            "contracts/test_attempts.py",
        ),
        on_a_server=True,
    ),
    Target(
        "_lifetime", ("contracts/test_lifetime.py", "test_snapshot.py", "contracts/test_attempts.py"), on_a_server=True
    ),
    Target("_reservation", ("contracts/test_atomicity.py", "contracts/test_lifetime.py"), on_a_server=True),
)
