"""Checks that the user of ``--url`` has the permissions that taskctx needs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from taskctx._transport.answers import EXTRA_COMMANDS

from ..operating.server import Server
from .finding import Finding, Severity, not_looked, ok

_NONE = "0" * 40
"""A digest that no script has."""

_ASKED: dict[str, Sequence[str]] = {
    "get": ("{key}",),
    "hget": ("{key}", "state"),
    "set": ("{key}", "", "EX", "1", "XX"),
    "expire": ("{key}", "1"),
    "del": ("{key}",),
    "evalsha": (_NONE, "1", "{key}"),
    "script|load": ("return 1",),
    **dict.fromkeys(EXTRA_COMMANDS, ()),
    "scan": ("0", "COUNT", "1"),
    "ttl": ("{key}",),
}
"""The commands that taskctx itself sends, with arguments for a key that does not exist."""

_ONLY_TRIED = {"get", "hget", "scan", "ttl", "time", "evalsha"}
"""The commands that can be tried without a write (``evalsha`` with a script that does not exist)."""


async def check_permissions(server: Server, dockets: Sequence[str]) -> Finding:
    """Ask the server (``ACL DRYRUN``), or try the commands, with a key of the first docket in ``dockets``."""
    name = dockets[0] if dockets else ""
    key = server.docket(name).key("taskctx:doctor") if name else "taskctx:doctor"
    commands = {
        command: [*command.upper().split("|"), *(argument.format(key=key) for argument in arguments)]
        for command, arguments in _ASKED.items()
    }
    refused = await server.dry_run_refuses(list(commands.values()))
    if refused is None:
        tried = {command: words for command, words in commands.items() if command in _ONLY_TRIED}
        refused, commands = await server.refuses(list(tried.values())), tried
    names = {command for command, is_refused in zip(commands, refused, strict=True) if is_refused}
    if not name and names == {command for command in commands if "{key}" in _ASKED[command]}:
        return not_looked(
            "permissions",
            "this user may reach some keys only: name one of its dockets with --docket",
        )
    return _judged(names, "asked" if len(commands) == len(_ASKED) else "tried")


def _judged(refused: set[str], how: str) -> Finding:
    if not refused:
        return ok("permissions", f"the user of --url may do what taskctx does ({how})")
    named = ", ".join(command.replace("|", " ").upper() for command in sorted(refused))
    if refused == {"evalsha"} and how == "tried":
        return not_looked(
            "permissions", "this user may only look; give the --url of servers and workers to see what those may do"
        )
    return Finding(
        "permissions",
        Severity.WARNING if refused <= set(EXTRA_COMMANDS) else Severity.ERROR,
        f"the server refuses the user of --url what taskctx does: {named} ({how})",
        " ".join(_whys(refused)),
        "If servers and workers connect as this user, give it the ACL rules in docs/deploy.md.",
    )


def _whys(refused: set[str]) -> Iterator[str]:
    if refused - set(EXTRA_COMMANDS):
        yield "Contexts are not saved or not restored."
    if "scan" in refused:
        yield "Workers do not find the snapshots of cancelled tasks, which stay for pending_ttl."
    if "time" in refused:
        yield "The ages and TTLs of snapshots are measured by each process's own clock."
    if "ttl" in refused:
        yield "A renewed snapshot lives for pending_ttl, even if it had a longer TTL."
