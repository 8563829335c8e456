"""Encodes a snapshot's JSON as the bytes in Redis, and decodes these bytes.

A plain snapshot is the JSON itself, which starts with ``{``.  A sealed snapshot is an envelope::

    TCX 1 | length of key id | key id | nonce (12 bytes) | AES-256-GCM ciphertext and tag

The associated data is everything before the nonce, and the full Redis key.  So a sealed value opens only under the
Redis key where it was stored, and its header cannot be changed.

The envelope has a second form, as text that looks like a Fernet token.  taskctx's keyring seals FastMCP's snapshots in
this form: a FastMCP without taskctx takes the text for a token that it has no key for, and fails the task.  The text is
the envelope in URL-safe base64, after the six characters that begin every Fernet token.

FastMCP 3 does not know Fernet tokens, and runs a task anonymously when it cannot read the task's snapshot.  For FastMCP
3 the text is the token in a JSON object in which every member is invalid: reading any member of it is an error.
"""

from __future__ import annotations

import base64
import binascii
import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .._runtime import SnapshotCodec
from ..errors import Reason, SnapshotError
from ..settings.keyring import Keyring

FAMILY = b"TCX"
MAGIC = FAMILY + b"1"
"""The first bytes of every sealed value: three letters and the version of the envelope."""

NONCE_BYTES = 12
TAG_BYTES = 16


class PlaintextCodec:
    """Stores the JSON unchanged.  It has no key for a sealed value."""

    sealing_key_id = None

    def known_key_id(self, stored: bytes) -> str | None:
        return None

    def encode(self, plaintext: bytes, key: str) -> bytes:
        return plaintext

    def decode(self, stored: bytes, key: str) -> bytes:
        if is_sealed(stored):
            raise SnapshotError(Reason.DECRYPT_UNKNOWN_KEY)
        if stored.startswith(FAMILY):
            raise SnapshotError(Reason.SCHEMA_UNSUPPORTED)
        if not stored.startswith(b"{"):
            raise SnapshotError(Reason.MALFORMED)
        return stored


class SealingCodec:
    """Seals with the keyring's first key, opens with any key; refuses plaintext unless ``accept_plaintext`` is set."""

    def __init__(self, keyring: Keyring, *, accept_plaintext: bool) -> None:
        self._ciphers = {key_id: AESGCM(key) for key_id, key in keyring.keys.items()}
        self._headers = {key_id: _header(key_id) for key_id in keyring.keys}
        self.sealing_key_id = keyring.primary
        self._accept_plaintext = accept_plaintext

    def known_key_id(self, stored: bytes) -> str | None:
        for key_id, header in self._headers.items():
            if stored.startswith(header) and len(stored) >= len(header) + NONCE_BYTES + TAG_BYTES:
                return key_id
        return None

    def encode(self, plaintext: bytes, key: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        header = self._headers[self.sealing_key_id]
        sealed = self._ciphers[self.sealing_key_id].encrypt(nonce, plaintext, header + key.encode())
        return header + nonce + sealed

    def decode(self, stored: bytes, key: str) -> bytes:
        if not stored.startswith(MAGIC):
            plaintext = PlaintextCodec().decode(stored, key)
            if not self._accept_plaintext:
                raise SnapshotError(Reason.PLAINTEXT_REFUSED)
            return plaintext
        envelope = _opened_envelope(stored)
        if envelope is None:
            raise SnapshotError(Reason.DECRYPT_FAILED)
        key_id, nonce, ciphertext = envelope
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise SnapshotError(Reason.DECRYPT_UNKNOWN_KEY)
        try:
            return cipher.decrypt(nonce, ciphertext, self._headers[key_id] + key.encode())
        except InvalidTag:
            raise SnapshotError(Reason.DECRYPT_FAILED) from None


@lru_cache(maxsize=4)
def make_codec(keyring: Keyring | None, *, accept_plaintext: bool) -> SnapshotCodec:
    """The codec for a keyring; without a keyring, snapshots are plain."""
    return PlaintextCodec() if keyring is None else SealingCodec(keyring, accept_plaintext=accept_plaintext)


def is_sealed(stored: bytes) -> bool:
    """Whether a stored value claims to be sealed."""
    return stored.startswith(MAGIC)


def sealing_key_id(stored: bytes) -> str | None:
    """The id of the key in a sealed value's header; None where the value is not sealed or is damaged."""
    envelope = _opened_envelope(stored) if is_sealed(stored) else None
    return None if envelope is None else envelope[0]


FERNET = b"gAAAAA"
"""The first characters of every Fernet token: the version of the format, and the leading zeros of a timestamp."""

SEALED_AS_TEXT = FERNET + base64.urlsafe_b64encode(MAGIC)[:5]
"""The first characters of every envelope as text.  A Fernet timestamp has this value only about the year 2650."""

_JSON = (
    b'{"session_id":["sealed by taskctx"],"http_headers":["sealed by taskctx"],"access_token_json":"',
    b'"}',
)
"""The JSON before and after an envelope as text, for FastMCP 3."""

_GROUP = 4
"""So many characters of base64 hold whole bytes."""


def as_text(envelope: bytes) -> bytes:
    """The envelope as text."""
    return FERNET + base64.urlsafe_b64encode(envelope)


def as_json(envelope: bytes) -> bytes:
    """The envelope as text, in a JSON object."""
    return as_text(envelope).join(_JSON)


def from_text(stored: bytes) -> bytes:
    """The envelope in a text, or in a JSON object that holds the text.

    Raises:
        SnapshotError: (``decrypt_failed``) the text after the first six characters was altered.
    """
    try:
        return base64.b64decode(_text(stored)[len(FERNET) :], altchars=b"-_", validate=True)
    except binascii.Error:
        raise SnapshotError(Reason.DECRYPT_FAILED) from None


def beginning_from_text(beginning: bytes) -> bytes:
    """The beginning of the envelope, from the beginning of its text.  See :func:`from_text`."""
    text = _text(beginning)
    whole = (len(text) - len(FERNET)) // _GROUP * _GROUP
    return from_text(text[: len(FERNET) + whole])


def is_sealed_as_text(stored: bytes) -> bool:
    """Whether a stored value claims to be an envelope as text, or a JSON object with such a text."""
    return _text(stored).startswith(SEALED_AS_TEXT)


def is_fernet(stored: bytes) -> bool:
    """Whether a stored value is a real Fernet token, which FastMCP's own key sealed."""
    return stored.startswith(FERNET) and not is_sealed_as_text(stored)


def _text(stored: bytes) -> bytes:
    before, after = _JSON
    return stored.removeprefix(before).removesuffix(after)


def _header(key_id: str) -> bytes:
    encoded = key_id.encode()
    return MAGIC + bytes((len(encoded),)) + encoded


def _opened_envelope(stored: bytes) -> tuple[str, bytes, bytes] | None:
    """Key id, nonce, and ciphertext with its tag; None when the envelope is cut short or its key id is not text."""
    start = len(MAGIC) + 1
    end = start + (stored[len(MAGIC)] if len(stored) > len(MAGIC) else 0)
    if start == end or len(stored) < end + NONCE_BYTES + TAG_BYTES:
        return None
    try:
        key_id = stored[start:end].decode("ascii")
    except UnicodeDecodeError:
        return None
    return key_id, stored[end : end + NONCE_BYTES], stored[end + NONCE_BYTES :]
