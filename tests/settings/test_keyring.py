"""Encryption keys, as they stand in ``TASKCTX_ENCRYPTION_KEYS``."""

from __future__ import annotations

import base64
import re
from contextlib import suppress
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taskctx.errors import ConfigurationError
from taskctx.settings import load_settings
from taskctx.settings.keyring import KEY_BYTES, generate_key, parse_keyring
from tests.secrets import MARKER

KEY = bytes(range(32))
OTHER = bytes(reversed(KEY))
ANOTHER = b"\xfb\xff" * 16


def encoded(key: bytes) -> str:
    return base64.b64encode(key).decode()


@pytest.mark.parametrize("key", [KEY, ANOTHER])
def test_base64_of_either_alphabet_with_or_without_padding(key: bytes) -> None:
    """All the ways in which tools print 32 bytes."""
    standard, url_safe = base64.b64encode(key).decode(), base64.urlsafe_b64encode(key).decode()
    for text in (standard, url_safe, standard.rstrip("="), url_safe.rstrip("=")):
        assert parse_keyring(f"2026-11:{text}").keys == {"2026-11": key}


def test_the_first_key_seals() -> None:
    """The first key of the list seals, and the keyring keeps the order."""
    keyring = parse_keyring(f" new:{encoded(KEY)} , old:{encoded(OTHER)}")
    assert keyring.primary == "new"
    assert keyring.key_ids == ("new", "old")


def test_a_keyring_shows_its_ids_only() -> None:
    """``repr`` and ``str`` of a keyring have only the ids."""
    keyring = parse_keyring(f"new:{encoded(KEY)},old:{encoded(OTHER)}")
    assert repr(keyring) == str(keyring) == "Keyring(new, old)"


def test_a_keyring_cannot_be_changed() -> None:
    """Codecs are made of it once."""
    keyring = parse_keyring(f"new:{encoded(KEY)}")
    with pytest.raises(FrozenInstanceError):
        keyring.keys = {}  # type: ignore[misc]


@pytest.mark.parametrize("key_id", ["a", "A.z_0-9", "a" * 64])
def test_what_an_id_may_be(key_id: str) -> None:
    """1 to 64 letters, digits, dots, underscores and hyphens."""
    assert parse_keyring(f"{key_id}:{encoded(KEY)}").primary == key_id


def test_a_generated_key_is_one() -> None:
    """32 bytes, no two alike, in characters that neither a shell nor an .env file takes for its own."""
    first, second = generate_key(), generate_key()
    assert first != second
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", first)
    assert len(parse_keyring(f"a:{first}").keys["a"]) == KEY_BYTES


REFUSED = {
    "empty": ("", "no key is in it. To run without keys, leave it unset"),
    "blank": (" ", "no key is in it. To run without keys, leave it unset"),
    "only a key": (encoded(KEY), "entry 1 is not of the form"),
    "a comma too many": (f"a:{encoded(KEY)},", "entry 2 is not of the form"),
    "no id": (f":{encoded(KEY)}", "the id of entry 1 must be"),
    "an id with a space": (f"a b:{encoded(KEY)}", "the id of entry 1 must be"),
    "an id that is too long": (f"{'a' * 65}:{encoded(KEY)}", "the id of entry 1 must be"),
    "an id twice": (f"a:{encoded(KEY)},a:{encoded(OTHER)}", "the id of entry 2 stands there twice"),
    "a key twice": (f"a:{encoded(KEY)},b:{encoded(KEY)}", "the key of entry 2 stands there twice"),
    "not base64": (f"a:{MARKER}!", "the key of entry 1 is not base64"),
    "stray characters": (f"a:{encoded(KEY)[:20]}!!!!{encoded(KEY)[20:]}", "the key of entry 1 is not base64"),
    "letters beyond ASCII": (f"a:{'ä' * 43}", "the key of entry 1 is not base64"),
    "no key": ("a:", "the key of entry 1 has 0 bytes"),
    "a short key": (f"a:{encoded(KEY[:31])}", "the key of entry 1 has 31 bytes, not 32"),
    "a long key": (f"a:{encoded(KEY + KEY)}", "the key of entry 1 has 64 bytes, not 32"),
    "the second is short": (f"a:{encoded(KEY)},b:{encoded(KEY[:16])}", "the key of entry 2 has 16 bytes"),
}


@pytest.mark.parametrize(("text", "why"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_keyring_is_refused_by_name(text: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the settings are first read; the variable is named, its value is not quoted."""
    monkeypatch.setenv("TASKCTX_ENCRYPTION_KEYS", text)
    with pytest.raises(ConfigurationError) as refused:
        load_settings()
    message = str(refused.value)
    assert message.startswith(f"TASKCTX_ENCRYPTION_KEYS: {why}")
    assert MARKER not in message
    assert encoded(KEY) not in message


def test_a_key_that_is_not_base64_is_no_part_of_the_error() -> None:
    """The error quotes neither the key nor Python's own error."""
    with pytest.raises(ValueError, match="the key of entry 1 is not base64") as refused:
        parse_keyring(f"a:{MARKER}!")
    assert refused.value.__suppress_context__


@given(st.text())
def test_no_text_does_anything_else(text: str) -> None:
    """It is a keyring of whole keys, or a ValueError."""
    with suppress(ValueError):
        assert all(len(key) == KEY_BYTES for key in parse_keyring(text).keys.values())
