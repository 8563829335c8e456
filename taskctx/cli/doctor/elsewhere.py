"""Dockets that processes use, but that have no key on the examined server."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ..operating.fleet import Process
from ..operating.words import listed
from .finding import Finding, Severity


def check_elsewhere(
    processes: Sequence[Process], here: Collection[str], asked_for: Collection[str]
) -> Iterator[Finding]:
    """Compare the dockets in the processes' metrics with the dockets on the server.

    Args:
        processes: the current readings.
        here: the dockets on the server.
        asked_for: the dockets to examine; empty means all.
    """
    named: dict[str, dict[str, bool]] = {}
    for process in processes:
        for docket, works in process.dockets.items():
            if docket not in here and (not asked_for or docket in asked_for):
                named.setdefault(docket, {})[process.instance] = works
    for docket, instances in sorted(named.items()):
        working = [instance for instance, works in instances.items() if works]
        does = f"{listed(working)} runs its tasks" if working else f"{listed(instances)} knows it"
        yield Finding(
            "dockets",
            Severity.ERROR if working else Severity.WARNING,
            f"docket {docket} is not on this server, and {does}",
            "The processes use another server, or another of its databases, than the one that was looked at: the "
            "findings above are not about them.",
            "Give the doctor the DOCKET_URL of those processes, with the number of the database at its end.",
            docket,
        )
