"""The keyring: the encryption keys, by id; the first key seals."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

KEY_BYTES = 32
"""The length of an AES-256 key."""

MAX_KEY_ID = 64
KEY_ID_RULE = f"must be 1 to {MAX_KEY_ID} letters, digits, '.', '_' or '-'"
_KEY_ID = re.compile(rf"[A-Za-z0-9._-]{{1,{MAX_KEY_ID}}}")


@dataclass(frozen=True, slots=True, eq=False)
class Keyring:
    """Keys by id, in order: the first key seals, every key opens.  ``repr`` shows only the ids."""

    keys: Mapping[str, bytes] = field(repr=False)

    @property
    def key_ids(self) -> tuple[str, ...]:
        return tuple(self.keys)

    @property
    def primary(self) -> str:
        """The id of the key that seals."""
        return next(iter(self.keys))

    def __repr__(self) -> str:
        return f"Keyring({', '.join(self.keys)})"


def parse_keyring(text: str) -> Keyring:
    """The keys in ``"id:BASE64,id:BASE64"``; key material is 32 bytes in base64, standard or URL-safe, padded or not.

    Raises:
        ValueError: an entry is not valid; the message gives the entry's number and never quotes it.
    """
    if not text.strip():
        raise ValueError("no key is in it. To run without keys, leave it unset")
    keys: dict[str, bytes] = {}
    seen: set[bytes] = set()
    for place, entry in enumerate(text.split(","), start=1):
        key_id, separator, material = (part.strip() for part in entry.partition(":"))
        if not separator:
            raise ValueError(f"entry {place} is not of the form id:BASE64")
        if not is_key_id(key_id):
            raise ValueError(f"the id of entry {place} {KEY_ID_RULE}")
        if key_id in keys:
            raise ValueError(f"the id of entry {place} stands there twice")
        key = _decoded(material, place)
        if key in seen:
            raise ValueError(f"the key of entry {place} stands there twice, under two ids")
        keys[key_id] = key
        seen.add(key)
    return Keyring(keys)


def is_key_id(text: str) -> bool:
    """Whether a key may have this id."""
    return _KEY_ID.fullmatch(text) is not None


def generate_key() -> str:
    """New key material for a keyring: 32 random bytes in URL-safe base64."""
    return base64.urlsafe_b64encode(secrets.token_bytes(KEY_BYTES)).decode().rstrip("=")


def _decoded(material: str, place: int) -> bytes:
    standard = material.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        key = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"the key of entry {place} is not base64") from None
    if len(key) != KEY_BYTES:
        raise ValueError(f"the key of entry {place} has {len(key)} bytes, not {KEY_BYTES}")
    return key
