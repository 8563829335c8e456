"""From FastMCP's snapshot JSON to what is stored, and back.

FastMCP's own key comes first: where it is set, FastMCP's codec seals.  Else taskctx's keyring does, if there is one.
Its envelope is stored in the disguise of a Fernet token.  So a process that is not instrumented takes it for one that
it has no key for, and fails the task; otherwise it would run it as nobody.
"""

from __future__ import annotations

from .._snapshot.codec import codec_for, known_key_id
from .._snapshot.disguise import disguised, is_fernet, is_sealed, revealed
from ..errors import Reason, SnapshotError
from ..operations import Restore
from ..settings import Settings
from . import _upstream


def seal(text: str, key: str, settings: Settings) -> bytes:
    codec = _upstream.snapshot_codec()
    if codec.protected or settings.keyring is None:
        return codec.encode(text).encode()
    return disguised(codec_for(settings).encode(text.encode(), key))


def unseal(stored: bytes, key: str, settings: Settings, operation: Restore) -> str:
    """The JSON in a stored value.

    Raises:
        SnapshotError: with the reason why it cannot be read.
    """
    if not is_sealed(stored):
        return _opened_by_fastmcp(stored, settings)
    envelope = revealed(stored)
    operation.key_id = known_key_id(envelope, settings)
    return codec_for(settings).decode(envelope, key).decode()


def _opened_by_fastmcp(stored: bytes, settings: Settings) -> str:
    codec = _upstream.snapshot_codec()
    if not is_fernet(stored):
        if not stored.startswith(b"{"):
            raise SnapshotError(Reason.MALFORMED)
        if codec.protected or (settings.keyring is not None and not settings.accept_plaintext):
            raise SnapshotError(Reason.PLAINTEXT_REFUSED)
    try:
        return codec.decode(stored)
    except UnicodeDecodeError:
        raise SnapshotError(Reason.MALFORMED) from None
    except _upstream.SnapshotDecryptionError:
        # Fernet does not say whether the key is another one or the value was altered
        reason = Reason.DECRYPT_FAILED if codec.protected else Reason.DECRYPT_UNKNOWN_KEY
        raise SnapshotError(reason) from None
