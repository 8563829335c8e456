"""Dockets that processes work for or submit to, and of which there is nothing on the server that was looked at."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from ..operating.fleet import Process
from ..operating.words import listed
from .finding import Finding, Severity


def check_elsewhere(
    processes: Sequence[Process], here: Collection[str], asked_for: Collection[str]
) -> Iterator[Finding]:
    """Compare the names in the processes' metrics with the dockets that are here.

    Args:
        processes: as they are now.
        here: the dockets that were found.
        asked_for: the dockets that are to be looked at; all, where none are named.
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
            "The processes use another server, or another of its databases, than the one that was looked at: what is "
            "said above is not of them.",
            "Give the doctor the DOCKET_URL of those processes, with the number of the database at its end.",
            docket,
        )
