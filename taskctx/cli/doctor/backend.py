"""Checks of the server itself: its version, its persistence, its clock."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..operating.words import duration
from .finding import Finding, Severity, not_looked, ok
from .memory import check_memory
from .survey import Survey

SKEW, LARGE_SKEW = 2.0, 60.0
"""Seconds of difference between two clocks that are a warning, and that are an error."""


def check_backend(survey: Survey) -> Iterator[Finding]:
    for node, info in survey.info.items():
        yield _server(node, info)
        yield check_memory(node, info)
        yield _persistence(node, info, survey.save_points)
    yield _clock(survey.clock_offset)
    if not survey.complete:
        yield Finding(
            "scan",
            Severity.WARNING,
            "the server holds more keys of dockets than were looked at",
            "The findings below are about a part of the keys.",
            "Raise --limit, or look at one docket with --docket: the keys of other dockets then do not count.",
        )


def _server(node: str, info: dict[str, Any]) -> Finding:
    product = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "of unknown version")
    what = f"{product} {version} answers at {node}"
    if info.get("role") == "slave":
        return Finding(
            "server",
            Severity.ERROR,
            f"{what}, and is a replica",
            "Replicas refuse writes: no context is saved and no task is scheduled.",
            "Name the primary in --url and in DOCKET_URL, or use a redis+sentinel:// URL.",
        )
    if info.get("rdb_last_bgsave_status", "ok") != "ok" or info.get("aof_last_write_status", "ok") != "ok":
        return Finding(
            "server",
            Severity.ERROR,
            f"{what}, and could not write to its disk the last time it tried",
            "It may refuse all writes until it can write again, and it loses its data when it stops.",
            "Look at its log and the space on its disk.",
        )
    return ok("server", what)


def _persistence(node: str, info: dict[str, Any], save_points: str | None) -> Finding:
    if info.get("aof_enabled"):
        return ok("persistence", f"{node} writes its data to disk (appendonly)")
    if save_points:
        return ok("persistence", f"{node} saves its data to disk from time to time (save {save_points})")
    if save_points is None:
        return not_looked("persistence", f"{node} does not say; look at its provider's settings")
    return Finding(
        "persistence",
        Severity.WARNING,
        f"{node} keeps everything in memory only",
        "A restart loses all tasks that wait, and their callers.",
        "Set appendonly yes, or have a replica take over (redis+sentinel:// or a cluster).",
    )


def _clock(offset: float) -> Finding:
    if abs(offset) < SKEW:
        return ok("clock", f"this process's clock and the server's differ by {duration(abs(offset))}")
    return Finding(
        "clock",
        Severity.ERROR if abs(offset) >= LARGE_SKEW else Severity.WARNING,
        f"the server's clock is {duration(abs(offset))} {'ahead of' if offset > 0 else 'behind'} this process's",
        "Tasks start early or late by this time. Valid tokens count as expired, or expired tokens as valid.",
        "Have both hosts keep their time with NTP (chrony, systemd-timesyncd).",
    )
