"""How a snapshot's JSON becomes the bytes in Redis, and back.

Plain, it is the JSON itself, which starts with ``{``.  Sealed, it is an envelope::

    TCX 1 | length of key id | key id | nonce (12 bytes) | AES-256-GCM ciphertext and tag

whose associated data is everything before the nonce and the full Redis key.  So a sealed value opens only under the
key where it was stored, and nothing of its header can be changed.

The envelope has a second form, as text that passes for a Fernet token.  It is that of FastMCP's snapshots that our
keyring seals: a FastMCP that knows nothing of taskctx takes it for a token that it has no key for, and fails the task.
It is the envelope as URL-safe base64, behind the six characters that begin every Fernet token.

FastMCP 3 knows no such token, and runs a task whose snapshot it cannot read for an anonymous caller.  For it the text
stands in the place of a snapshot's token, in a JSON object of which nothing is what it should be: whoever asks for a
part of it gets an error.
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
"""Begins every sealed value: three letters and the version of the envelope."""

NONCE_BYTES = 12
TAG_BYTES = 16


class PlaintextCodec:
    """The JSON as it is.  A sealed value is one that this process has no key for."""

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
    """Seals with the keyring's first key, opens with any; refuses plaintext unless told to accept it."""

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
    """The codec of a keyring; without one, snapshots are plain."""
    return PlaintextCodec() if keyring is None else SealingCodec(keyring, accept_plaintext=accept_plaintext)


def is_sealed(stored: bytes) -> bool:
    """Whether a stored value claims to be sealed."""
    return stored.startswith(MAGIC)


def sealing_key_id(stored: bytes) -> str | None:
    """The id of the key that a value says it is sealed with, None where it is not sealed or is damaged."""
    envelope = _opened_envelope(stored) if is_sealed(stored) else None
    return None if envelope is None else envelope[0]


FERNET = b"gAAAAA"
"""Begins every Fernet token: the version of the format, and the leading zeros of a timestamp."""

SEALED_AS_TEXT = FERNET + base64.urlsafe_b64encode(MAGIC)[:5]
"""Begins every envelope as text.  A Fernet token has a timestamp there, which gets to this in the year 2650 or so."""

_JSON = (
    b'{"session_id":["sealed by taskctx"],"http_headers":["sealed by taskctx"],"access_token_json":"',
    b'"}',
)
"""Around an envelope as text, for FastMCP 3."""

_GROUP = 4
"""Characters of base64 that hold whole bytes."""


def as_text(envelope: bytes) -> bytes:
    """The envelope as text."""
    return FERNET + base64.urlsafe_b64encode(envelope)


def as_json(envelope: bytes) -> bytes:
    """The envelope as text, as a member of a JSON object."""
    return as_text(envelope).join(_JSON)


def from_text(stored: bytes) -> bytes:
    """The envelope in a text, or in a JSON object with one.

    Raises:
        SnapshotError: (``decrypt_failed``) what is behind the first six characters was altered.
    """
    try:
        return base64.b64decode(_text(stored)[len(FERNET) :], altchars=b"-_", validate=True)
    except binascii.Error:
        raise SnapshotError(Reason.DECRYPT_FAILED) from None


def beginning_from_text(beginning: bytes) -> bytes:
    """As :func:`from_text`, as far as it goes, of a value of which only the beginning was read."""
    text = _text(beginning)
    whole = (len(text) - len(FERNET)) // _GROUP * _GROUP
    return from_text(text[: len(FERNET) + whole])


def is_sealed_as_text(stored: bytes) -> bool:
    """Whether a stored value claims to be an envelope as text, or to hold one."""
    return _text(stored).startswith(SEALED_AS_TEXT)


def is_fernet(stored: bytes) -> bool:
    """Whether it is a Fernet token in truth: FastMCP's own key sealed it."""
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
