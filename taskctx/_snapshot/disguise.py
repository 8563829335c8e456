"""A sealed envelope that passes for a Fernet token: the form of FastMCP's snapshots that our keyring seals.

It is the envelope as URL-safe base64, behind the six characters that begin every Fernet token, so that a FastMCP
that knows nothing of taskctx takes it for one that it has no key for.  Nothing here needs FastMCP, so that whoever
looks at a server can tell what FastMCP's own key sealed from what ours did.
"""

from __future__ import annotations

import base64
import binascii

from ..errors import Reason, SnapshotError
from .codec import MAGIC

FERNET = b"gAAAAA"
"""The version of the format, and the leading zeros of a timestamp."""

SEALED = FERNET + base64.urlsafe_b64encode(MAGIC)[:5]
"""How a value of ours begins.  A Fernet token has a timestamp there, which gets to this in the year 2650 or so."""

_GROUP = 4
"""Characters of base64 that hold whole bytes."""


def disguised(envelope: bytes) -> bytes:
    """The envelope in the form in which it is stored."""
    return FERNET + base64.urlsafe_b64encode(envelope)


def revealed(stored: bytes) -> bytes:
    """The envelope in a stored value.

    Raises:
        SnapshotError: (``decrypt_failed``) what follows the six characters was altered.
    """
    try:
        return base64.b64decode(stored[len(FERNET) :], altchars=b"-_", validate=True)
    except binascii.Error:
        raise SnapshotError(Reason.DECRYPT_FAILED) from None


def revealed_beginning(beginning: bytes) -> bytes:
    """As :func:`revealed`, as far as it goes, of a value of which only the beginning was read."""
    whole = (len(beginning) - len(FERNET)) // _GROUP * _GROUP
    return revealed(beginning[: len(FERNET) + whole])


def is_sealed(stored: bytes) -> bool:
    """Whether taskctx's keyring sealed it."""
    return stored.startswith(SEALED)


def is_fernet(stored: bytes) -> bool:
    """Whether it is a Fernet token in truth: FastMCP's own key sealed it."""
    return stored.startswith(FERNET) and not is_sealed(stored)
