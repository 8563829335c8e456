"""Durations, sizes, counts and untrusted text for people."""

from __future__ import annotations

from collections.abc import Iterable

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SHOWN = 3
_KIB = 1024


def duration(seconds: float) -> str:
    """A duration in its two largest units: ``2 h 5 min``."""
    if abs(seconds) < 1:
        return f"{seconds * 1000:.0f} ms"
    rest, parts = round(abs(seconds)), list[str]()
    for size, unit in _UNITS:
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return ("-" if seconds < 0 else "") + " ".join(parts[:2])


def size(count: float) -> str:
    """A number of bytes in KiB, MiB or GiB."""
    for unit in ("B", "KiB", "MiB"):
        if count < _KIB:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= _KIB
    return f"{count:.1f} GiB"


def counted(count: int, singular: str, plural: str | None = None) -> str:
    """``1 task``, ``2,000 tasks``."""
    return f"{count:,} {singular if count == 1 else plural or f'{singular}s'}"


def plain(text: str) -> str:
    """Untrusted text, with escapes in place of terminal control characters."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def listed(names: Iterable[str]) -> str:
    """The first few names in sorted order, and the number of the others."""
    found = sorted(names)
    more = f" and {len(found) - _SHOWN:,} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more
