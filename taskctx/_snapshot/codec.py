"""How a snapshot's JSON becomes the bytes in Redis, and back.

Plain, it is the JSON itself, which starts with ``{``.  Sealed, it is an envelope::

    TCX 1 | length of key id | key id | nonce (12 bytes) | AES-256-GCM ciphertext and tag

whose associated data is everything before the nonce and the full Redis key.  So a sealed value opens only under the
key where it was stored, and nothing of its header can be changed.
"""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import Reason, SnapshotError
from ..operations import CryptoOperation
from ..settings import Settings
from ..settings.keyring import Keyring
from ..telemetry.observe import notify

FAMILY = b"TCX"
MAGIC = FAMILY + b"1"
"""Begins every sealed value: three letters and the version of the envelope."""

NONCE_BYTES = 12
TAG_BYTES = 16


class SnapshotCodec(Protocol):
    """Both methods get the full Redis key, so that a codec can bind a value to the place where it is stored."""

    def encode(self, plaintext: bytes, key: str) -> bytes: ...

    def decode(self, stored: bytes, key: str) -> bytes:
        """The JSON in a stored value.

        Raises:
            SnapshotError: with the reason why the value cannot be read.
        """
        ...


class PlaintextCodec:
    """The JSON as it is.  A sealed value is one that this process has no key for."""

    def encode(self, plaintext: bytes, key: str) -> bytes:
        return plaintext

    def decode(self, stored: bytes, key: str) -> bytes:
        if is_sealed(stored):
            raise _not_opened(None, Reason.DECRYPT_UNKNOWN_KEY)
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
        self._primary = keyring.primary
        self._accept_plaintext = accept_plaintext

    def encode(self, plaintext: bytes, key: str) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        header = self._headers[self._primary]
        sealed = self._ciphers[self._primary].encrypt(nonce, plaintext, header + key.encode())
        notify(CryptoOperation("seal", self._primary))
        return header + nonce + sealed

    def decode(self, stored: bytes, key: str) -> bytes:
        if not is_sealed(stored):
            plaintext = PlaintextCodec().decode(stored, key)
            if not self._accept_plaintext:
                raise SnapshotError(Reason.PLAINTEXT_REFUSED)
            return plaintext
        envelope = _opened_envelope(stored)
        if envelope is None:
            raise _not_opened(None, Reason.DECRYPT_FAILED)
        key_id, nonce, ciphertext = envelope
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise _not_opened(None, Reason.DECRYPT_UNKNOWN_KEY)
        try:
            plaintext = cipher.decrypt(nonce, ciphertext, self._headers[key_id] + key.encode())
        except InvalidTag:
            raise _not_opened(key_id, Reason.DECRYPT_FAILED) from None
        notify(CryptoOperation("open", key_id))
        return plaintext


def codec_for(settings: Settings) -> SnapshotCodec:
    """The codec that the settings ask for."""
    return _codec(settings.keyring, accept_plaintext=settings.accept_plaintext)


def is_sealed(stored: bytes) -> bool:
    """Whether a stored value claims to be sealed."""
    return stored.startswith(MAGIC)


def sealing_key_id(stored: bytes) -> str | None:
    """The id of the key that a value says it is sealed with, None where it is not sealed or is damaged."""
    envelope = _opened_envelope(stored) if is_sealed(stored) else None
    return None if envelope is None else envelope[0]


def known_key_id(stored: bytes, settings: Settings) -> str | None:
    """As :func:`sealing_key_id`, but None for a key that is not in the keyring: what telemetry may show."""
    if settings.keyring is None:
        return None
    key_id = sealing_key_id(stored)
    return key_id if key_id in settings.keyring.keys else None


def _header(key_id: str) -> bytes:
    encoded = key_id.encode()
    return MAGIC + bytes((len(encoded),)) + encoded


def _not_opened(key_id: str | None, reason: Reason) -> SnapshotError:
    """Count a sealed value that stays shut, under its key's id if that is in the keyring."""
    notify(CryptoOperation("open", key_id, succeeded=False))
    return SnapshotError(reason)


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


@lru_cache(maxsize=4)
def _codec(keyring: Keyring | None, *, accept_plaintext: bool) -> SnapshotCodec:
    return PlaintextCodec() if keyring is None else SealingCodec(keyring, accept_plaintext=accept_plaintext)
