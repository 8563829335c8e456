"""Simulates the loss of a context: damages the stored snapshot of a task as a real failure would."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Final

from docket import Docket

from .. import AccessToken, InvalidArgument, InvalidType, Reason
from .._caller.token import token_from_json
from .._runtime import runtime
from .._snapshot.codec import FAMILY, SealingCodec, is_sealed
from .._transport import commands
from .._transport.connection import connection_of
from .._transport.deadline import Deadline
from .._worker.restoration import snapshot_key
from ..settings.keyring import generate_key, parse_keyring

LONG_AGO: Final = 60
"""How many seconds ago the token expired."""


def check_failure(failure: object) -> None:
    """Check that a failure can be simulated; None means no failure.

    Raises:
        InvalidArgument: the failure cannot be simulated.
        InvalidType: the failure is not a reason.
    """
    if failure is None:
        return
    known = f"what can is: {', '.join(sorted(DAMAGES))}"
    if not isinstance(failure, str):
        raise InvalidType(f"failure must be a taskctx.Reason, not {type(failure).__name__}; {known}")
    if failure not in DAMAGES:
        named = f"failure={failure.value!r}" if isinstance(failure, Reason) else "a failure that is no taskctx.Reason"
        raise InvalidArgument(f"{named} cannot be simulated; {known}")


async def damage(docket: Docket, task_key: str, reason: Reason) -> None:
    """Damage the stored snapshot of a taskctx task so that its restore fails for this reason.

    Raises:
        InvalidArgument: the failure cannot be simulated with this caller or these settings.
    """
    key, connection = snapshot_key(docket, task_key), connection_of(docket)
    with Deadline(connection.timers, runtime().settings.backend_timeout):
        stored = None if key is None else await commands.fetch(connection, key)
        if key is None or stored is None:
            raise InvalidArgument("there is no snapshot to damage: it was not saved, or has expired")
        value = DAMAGES[reason](bytes(stored.value), key)
        if value is None:
            await commands.compare_and_set(connection, key, stored.value, None)
        else:
            await commands.put(connection, key, value, stored.ttl or runtime().settings.pending_ttl)


def _removed(_stored: bytes, _key: str) -> None:
    return None


def _not_ours(_stored: bytes, _key: str) -> bytes:
    return b"damaged"


def _of_a_newer_version(_stored: bytes, _key: str) -> bytes:
    return FAMILY + b"\xff"


def _sealed_elsewhere(stored: bytes, key: str) -> bytes:
    keyring = parse_keyring(f"fake-key:{generate_key()}")
    plain = runtime().codec.decode(stored, key)
    return SealingCodec(keyring, accept_plaintext=False).encode(plain, key)


def _altered(stored: bytes, _key: str) -> bytes:
    if not is_sealed(stored):
        raise InvalidArgument(
            f"failure={Reason.DECRYPT_FAILED.value!r} needs sealed snapshots: configured(encryption_keys=...)"
        )
    return stored[:-1] + bytes([stored[-1] ^ 1])


def _with_an_expired_token(stored: bytes, key: str) -> bytes:
    def expired(token: AccessToken | None) -> AccessToken:
        if token is None:
            raise InvalidArgument(
                f"failure={Reason.CREDENTIAL_EXPIRED.value!r} needs a caller with a token; this one is anonymous"
            )
        return token.model_copy(update={"expires_at": int(time.time()) - LONG_AGO})

    return _with_token(stored, key, expired)


def _with_another_callers_token(stored: bytes, key: str) -> bytes:
    other = AccessToken(token="fake-token-of-somebody-else", client_id="somebody-else")  # noqa: S106 - a fake
    return _with_token(stored, key, lambda _token: other)


def _with_token(stored: bytes, key: str, change: Callable[[AccessToken | None], AccessToken]) -> bytes:
    codec = runtime().codec
    fields = json.loads(codec.decode(stored, key))
    token = change(token_from_json(fields.get("access_token_json")))
    return codec.encode(json.dumps(fields | {"access_token_json": token.model_dump_json()}).encode(), key)


DAMAGES: Final[dict[Reason, Callable[[bytes, str], bytes | None]]] = {
    Reason.MISSING: _removed,
    Reason.MALFORMED: _not_ours,
    Reason.SCHEMA_UNSUPPORTED: _of_a_newer_version,
    Reason.DECRYPT_UNKNOWN_KEY: _sealed_elsewhere,
    Reason.DECRYPT_FAILED: _altered,
    Reason.CREDENTIAL_EXPIRED: _with_an_expired_token,
    Reason.SCOPE_MISMATCH: _with_another_callers_token,
}
