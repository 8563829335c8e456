"""Checks of a docket's snapshots: their TTLs, whether this process can read them, and whether their tasks exist."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from taskctx.errors import Reason
from taskctx.settings import Settings

from ..operating.layout import TaskRef
from ..operating.seal import Seal, Sealer
from ..operating.words import counted, listed, size
from .finding import Finding, Severity, ok
from .stored import GONE, Snapshot
from .survey import DocketSurvey, Survey

NO_TTL = -1
IN_FLIGHT = 60.0
"""Seconds after its save in which a snapshot may have no task yet: it is stored before its task."""

_DO = {
    Reason.DECRYPT_UNKNOWN_KEY: "Compare TASKCTX_ENCRYPTION_KEYS here and where they were submitted: taskctx inspect "
    "shows a snapshot's key id. Put the missing key into second place here.",
    Reason.DECRYPT_FAILED: "Compare the key's material here and where they were submitted, if many do not open; if "
    "few do not, find out who else writes to this server.",
    Reason.PLAINTEXT_REFUSED: "Give the submitters TASKCTX_ENCRYPTION_KEYS; while migrating, set "
    "TASKCTX_ACCEPT_PLAINTEXT=true here.",
    Reason.SCHEMA_UNSUPPORTED: "Upgrade taskctx here: workers first, submitters last.",
    Reason.MALFORMED: "Find out what else writes under these keys.",
}
"""The remedy for each reason for which this process refuses a stored value."""

_WITHOUT_KEYS = (
    "It has no TASKCTX_ENCRYPTION_KEYS: a worker without them fails the tasks of these snapshots.",
    "Run the doctor in a worker's environment; if this is one, give it the keys.",
)


def check_snapshots(docket: DocketSurvey, survey: Survey, settings: Settings) -> Iterator[Finding]:
    yield _counted(docket)
    yield from _without_end(docket)
    yield from _elsewhere(docket, settings)
    yield from _not_instrumented(docket)
    yield from _unreadable(docket, settings)
    if survey.complete:
        yield from _orphans(docket, survey.now, settings)


def _counted(docket: DocketSurvey) -> Finding:
    held = size(sum(each.size for each in docket.snapshots))
    what = f"{counted(len(docket.snapshots), 'snapshot')}, {held}"
    if docket.snapshots:
        what += f", {_sealed(each.seal for each in docket.snapshots)}"
    versions = {each.record.schema_version for each in docket.snapshots if each.record is not None}
    if versions:
        what += f", schema {', '.join(map(str, sorted(versions)))}"
    if docket.fastmcp:
        theirs = f"{len(docket.fastmcp):,} of FastMCP's, {_sealed(each.seal for each in docket.fastmcp)}"
        what += f"; and {theirs}, which are not looked into"
    return ok("snapshots", what, docket.name)


def _sealed(seals: Iterable[Seal]) -> str:
    """The seals in words, with counts where they differ."""
    counts = Counter(_in_words(seal) for seal in seals)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{count:,} {words}" for words, count in sorted(counts.items(), key=_plain_last))


def _plain_last(counted: tuple[str, int]) -> tuple[bool, str]:
    words, _ = counted
    return not words.startswith("sealed"), words


def _in_words(seal: Seal) -> str:
    match seal.by:
        case Sealer.NOT_SEALED:
            return "plain"
        case Sealer.TASKCTX:
            return f"sealed by {seal.key_id or 'a key whose id cannot be read'}"
        case Sealer.FASTMCP:
            return "sealed by FastMCP's own key"
        case Sealer.UNKNOWN:
            return "not snapshots"


def _without_end(docket: DocketSurvey) -> Iterator[Finding]:
    endless = [each.key for each in docket.snapshots if each.ttl == NO_TTL]
    if endless:
        yield Finding(
            "ttl",
            Severity.WARNING,
            f"{counted(len(endless), 'snapshot')} will never expire: {listed(endless)}",
            "taskctx gives every key a TTL; these keep callers' credentials until they are deleted, and use memory.",
            "Find out what removed the TTL (a PERSIST, a dump that was restored), and set one with EXPIRE.",
            docket.name,
        )


def _elsewhere(docket: DocketSurvey, settings: Settings) -> Iterator[Finding]:
    """Snapshots under another key prefix, where processes with this process's settings do not look."""
    waiting = {run.task for run in docket.pending if run.snapshot_ttl == GONE}
    for prefix, tasks in sorted(_by_prefix(docket).items()):
        lost = len(tasks & waiting)
        where = f"under the key prefix {prefix}, and this process looks under {settings.key_prefix}"
        needed = f"; {counted(lost, 'waiting task needs', 'waiting tasks need')} one of them" if lost else ""
        yield Finding(
            "key_prefix",
            Severity.ERROR if lost else Severity.WARNING,
            f"{counted(len(tasks), 'snapshot is', 'snapshots are')} stored {where}{needed}",
            "Submitters and workers that differ in TASKCTX_KEY_PREFIX do not find each other's snapshots (missing).",
            "Give submitters and workers the same TASKCTX_KEY_PREFIX, and run the doctor with it.",
            docket.name,
        )


def _by_prefix(docket: DocketSurvey) -> dict[str, set[TaskRef | None]]:
    prefixes: dict[str, set[TaskRef | None]] = {}
    for task, prefix in docket.elsewhere.items():
        prefixes.setdefault(prefix, set()).add(task)
    return prefixes


def _not_instrumented(docket: DocketSurvey) -> Iterator[Finding]:
    without = sum(each.has_member is False for each in docket.fastmcp)
    if without:
        of = f"{without:,} of FastMCP's snapshots hold" if without > 1 else "1 of FastMCP's snapshots holds"
        yield Finding(
            "instrument",
            Severity.WARNING,
            f"{of} nothing of taskctx's",
            "A FastMCP server without taskctx.fastmcp.instrument() wrote them: no trace, no baggage and no carried "
            "values go with those tasks, nothing is sealed, and nothing is counted.",
            "Call taskctx.fastmcp.instrument() before the server starts, on servers and workers alike.",
            docket.name,
        )


def _unreadable(docket: DocketSurvey, settings: Settings) -> Iterator[Finding]:
    ours: set[str] = set() if settings.keyring is None else set(settings.keyring.key_ids)
    refused: dict[Reason, list[Snapshot]] = {}
    for each in docket.snapshots:
        if each.seal.key_id is not None and each.seal.key_id not in ours:
            refused.setdefault(Reason.DECRYPT_UNKNOWN_KEY, []).append(each)
        elif each.refused is not None:
            refused.setdefault(each.refused, []).append(each)
    for reason, snapshots in sorted(refused.items()):
        ids = sorted({each.seal.key_id for each in snapshots if each.seal.key_id is not None})
        by = f" sealed by {', '.join(ids)}" if ids else ""
        what = f"this process cannot read {counted(len(snapshots), 'snapshot')}{by} ({reason.value})"
        if reason is Reason.DECRYPT_UNKNOWN_KEY and not ours:
            yield Finding("readable", Severity.WARNING, what, *_WITHOUT_KEYS, docket.name)
        else:
            why = f"A worker with this environment would lose their callers: {reason.explanation}."
            yield Finding("readable", Severity.ERROR, what, why, _DO[reason], docket.name)


def _orphans(docket: DocketSurvey, now: float, settings: Settings) -> Iterator[Finding]:
    """Snapshots that no task needs, and that still have a long TTL."""
    known = {run.task for run in docket.runs}
    left = [
        each
        for each in docket.snapshots
        if each.task not in known and each.ttl > settings.completed_ttl and not _in_flight(each, now)
    ]
    if left:
        yield Finding(
            "orphans",
            Severity.WARNING,
            f"{counted(len(left), 'snapshot')} of tasks that Docket knows nothing of any more: "
            f"{listed(each.key for each in left)}",
            "Their tasks were run by a worker without worker_dependencies, were cancelled, or were cleared; the "
            "callers' credentials stay until the TTL ends.",
            "Look at the workers below. What is left over goes by itself, or delete it with redis-cli DEL.",
            docket.name,
        )


def _in_flight(snapshot: Snapshot, now: float) -> bool:
    stored_at = None if snapshot.record is None else snapshot.record.stored_at
    return stored_at is not None and now - stored_at < IN_FLIGHT
