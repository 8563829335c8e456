"""Checks that every process has the encryption keys in use."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from taskctx.telemetry import names

from ..operating.fleet import Process
from ..operating.words import listed
from .finding import Finding, Severity


def check_keys(processes: Sequence[Process], stored: Collection[str]) -> Iterator[Finding]:
    """Check that every process has every key that sealed a snapshot.

    The first key of a keyring counts only if the process has sealed with it: the process may never submit.

    Args:
        processes: the current readings.
        stored: the ids of the keys that stored snapshots are sealed with.
    """
    rings = {each.instance: each.by("key_id", names.ENCRYPTION_KEY_INFO.name) for each in processes}
    sealing = {key_id for each in processes for key_id in _sealed_with(each)}
    for key_id in sorted(sealing | set(stored)):
        lacking = [instance for instance, ring in rings.items() if key_id not in ring]
        if lacking:
            by = "others seal with" if key_id in sealing else "stored snapshots are sealed with"
            yield Finding(
                "keys",
                Severity.ERROR,
                f"the key {key_id}, which {by}, is missing on {listed(lacking)}",
                "Tasks that are sealed with it are failed there (decrypt_unknown_key).",
                "Put it into their TASKCTX_ENCRYPTION_KEYS and restart them; runbook TaskCtxKeyMissingOnWorker.",
            )


def _sealed_with(process: Process) -> Iterator[str]:
    """The keys with which a process has sealed snapshots since its start."""
    counts = process.by("key_id", names.CRYPTO_OPERATIONS.name, operation="seal", outcome="ok")
    return (key_id for key_id, count in counts.items() if count)
