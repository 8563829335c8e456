"""How a snapshot's JSON becomes the bytes in Redis, and back."""

from __future__ import annotations

from typing import Protocol

from .errors import Reason, SnapshotError
from .settings import Settings


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
    """The JSON as it is."""

    def encode(self, plaintext: bytes, key: str) -> bytes:
        return plaintext

    def decode(self, stored: bytes, key: str) -> bytes:
        if not stored.startswith(b"{"):
            raise SnapshotError(Reason.MALFORMED)
        return stored


def codec_for(settings: Settings) -> SnapshotCodec:  # noqa: ARG001 - the keyring comes from them
    """The codec that the settings ask for."""
    return PlaintextCodec()
