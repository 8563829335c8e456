"""Checks of the server's memory: whether the server evicts keys, and whether it is full."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..operating.words import counted, size
from .finding import Finding, Severity, ok

NEARLY_FULL = 0.9
"""The share of ``maxmemory`` at which a warning begins."""

_EVICTS_NOTHING = "noeviction"


def check_memory(node: str, info: Mapping[str, Any]) -> Finding:
    """Judge what a node does when its memory is full, and whether it is full."""
    if _policy(info) != _EVICTS_NOTHING:
        return _evicts(node, info)
    if is_full(info):
        refused = _refused(info)
        return Finding(
            "memory",
            Severity.ERROR,
            f"{node} is full, and refuses writes: {_fill(info)}"
            + (f", {counted(refused, 'command')} refused" if refused else ""),
            "No context is saved, no task is scheduled (SaveError), and workers cannot say that they are alive.",
            "Give the server memory (maxmemory): the workers are not the cause. Then find what fills it: redis-cli "
            "--bigkeys.",
        )
    if _share(info) > NEARLY_FULL:
        return Finding(
            "memory",
            Severity.WARNING,
            f"{node} is nearly full: {_fill(info)}",
            "A full server refuses writes: contexts cannot be saved, and tasks are not scheduled.",
            "Give it memory, or add workers, so that fewer tasks wait.",
        )
    return ok("eviction", f"{node} evicts nothing (maxmemory-policy {_EVICTS_NOTHING}), {_fill(info)}")


def is_full(info: Mapping[str, Any]) -> bool:
    """Whether a node refuses writes because its memory is full.

    The memory that a refused command needed is free again, so the node may be below its limit.
    """
    if _policy(info) != _EVICTS_NOTHING:
        return False
    return _share(info) >= 1 or (_share(info) > NEARLY_FULL and _refused(info) > 0)


def _evicts(node: str, info: Mapping[str, Any]) -> Finding:
    evicted = info.get("evicted_keys", 0)
    why = "Snapshots have a TTL, so every policy but noeviction may take them from tasks that wait."
    do = "Set maxmemory-policy noeviction, and give the server the memory that the backlog needs."
    if evicted or _share(info) > NEARLY_FULL:
        what = f"{node} evicts keys (maxmemory-policy {_policy(info)}): {counted(evicted, 'key')} so far, {_fill(info)}"
        return Finding("eviction", Severity.ERROR, what, why, do)
    what = f"{node} will evict keys when it is full (maxmemory-policy {_policy(info)}), {_fill(info)}"
    return Finding("eviction", Severity.WARNING, what, why, do)


def _policy(info: Mapping[str, Any]) -> str:
    return info.get("maxmemory_policy", _EVICTS_NOTHING)


def _share(info: Mapping[str, Any]) -> float:
    """The used share of the limit, by the server's own count; 0 where there is no limit."""
    limit = info.get("maxmemory", 0)
    return (info["used_memory"] - info.get("mem_not_counted_for_evict", 0)) / limit if limit else 0.0


def _fill(info: Mapping[str, Any]) -> str:
    limit, used = info.get("maxmemory", 0), info["used_memory"]
    return f"{size(used)} of {size(limit)} used" if limit else f"{size(used)} used, no limit"


def _refused(info: Mapping[str, Any]) -> int:
    """The number of commands that the server refused because its memory was full, since its start."""
    return info.get("errorstat_OOM", {}).get("count", 0)
