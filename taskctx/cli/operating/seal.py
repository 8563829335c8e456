"""The seal of a stored value (taskctx's or FastMCP's), by its first bytes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from taskctx._snapshot.codec import FAMILY, beginning_from_text, is_fernet, is_sealed_as_text, sealing_key_id
from taskctx.errors import SnapshotError

BEGINNING = 256
"""So many bytes hold the whole header of an envelope, also in base64 inside of JSON."""


class Sealer(Enum):
    """The software that sealed a value; ``UNKNOWN`` for a value that is no snapshot."""

    NOT_SEALED = "nobody"
    TASKCTX = "taskctx"
    FASTMCP = "fastmcp"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Seal:
    """A value's seal.

    Attributes:
        key_id: the id of taskctx's key; None where taskctx did not seal the value, or the envelope is damaged.
    """

    by: Sealer
    key_id: str | None = None


PLAIN = Seal(Sealer.NOT_SEALED)
UNKNOWN = Seal(Sealer.UNKNOWN)


def seal_of(beginning: bytes) -> Seal:
    """The seal of a value; ``beginning`` has its first :data:`BEGINNING` bytes, or the whole value."""
    if is_sealed_as_text(beginning):
        try:
            return Seal(Sealer.TASKCTX, _key_id(beginning_from_text(beginning)))
        except SnapshotError:
            return Seal(Sealer.TASKCTX)
    if beginning.startswith(b"{"):
        return PLAIN
    if is_fernet(beginning):
        return Seal(Sealer.FASTMCP)
    return Seal(Sealer.TASKCTX, _key_id(beginning)) if beginning.startswith(FAMILY) else UNKNOWN


def _key_id(beginning: bytes) -> str | None:
    """The key id in an envelope that may have been cut short."""
    found = sealing_key_id(beginning.ljust(BEGINNING, b"\0"))
    return found if found and found.isprintable() else None
